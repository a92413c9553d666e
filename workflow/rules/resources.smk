# What a job asks a cluster for. Memory (MB) and time (minutes) grow by half with each attempt, so that a job which was
# ended for taking too much is given more by `--retries`; a single machine plans with the memory alone, if it is told to.
# Each is about three times of what was measured on two cores (docs/features.md, docs/training.md).

SOUND_MB_A_MINUTE = (
    1.6  # of segments/SHARD.h5: 16 kHz, 16 bits, lossless; says how long a shard is
)


def growing(amount):
    """An amount that each attempt raises; a number, or a function of wildcards and input."""

    def resource(wildcards, input, attempt):
        first = amount(wildcards, input) if callable(amount) else amount
        return round(first * (1 + attempt) / 2)

    return resource


def minutes(least, of_sound=0.0, of_gigabyte=0.0):
    """Time: some minutes, and more for each minute of a shard's sound or each gigabyte of input."""

    def amount(wildcards, input):
        sound_mb = sum(os.path.getsize(path) for path in sound_of(input)) / 1e6
        longer = (
            of_sound * sound_mb / SOUND_MB_A_MINUTE + of_gigabyte * input.size_mb / 1000
        )
        return least + longer

    return growing(amount)


def sound_of(input):
    return [path for path in [input.get("sound")] if path and os.path.exists(path)]


def released_mb(wildcards, input):
    """A pickle is read whole; twice its size covers what is written meanwhile."""
    return 1000 + 2 * input.size_mb


def convert_mb(wildcards, input):
    """The largest file is mapped whole; layers are checked one at a time in float32."""
    largest = max(places.weights_mb(CHECKPOINTS[wildcards.backbone]), default=0)
    return 1500 + 1.3 * largest


def llm_mb(wildcards, input):
    folder = CHECKPOINTS.get(wildcards.backbone, Path(llm_folder(wildcards)))
    chosen = experiment(wildcards)
    return places.job_mb(folder, chosen.backbone, chosen.train, chosen.adapter)


def linear_mb(wildcards, input):
    """Half a MB a clip is enough for 3,072 descriptors, the widest that a released corpus has."""
    manifest = f"work/{wildcards.dataset}/manifest.csv"
    with open(manifest, "rb") as lines:
        return 1500 + 0.5 * sum(1 for _ in lines)
