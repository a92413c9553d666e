"""A number for each stage, raised whenever its output would change for the same input and settings.

Snakemake makes files anew when a rule's parameters change, but not when a module does that a command imports.
So each rule passes its stage's number as a parameter.
"""

SPEECH_MODEL_THREADS = 2  # part of what makes numbers reproducible, as one thread is for all other extractors

STAGES = {
    "demo": 2,
    "manifest": 3,
    "cut": 4,
    "import": 2,
    "segment": 4,
    "acoustic": 4,
    "facial": 5,
    "transcribe": 4,
    "quality": 4,
    "assemble": 5,
    "convert": 1,
    "pretrain": 1,
    "train": 11,
    "answer": 5,
    "linear": 2,
    "score": 4,
}
