# Models, the demo corpus, and from a corpus's table to the manifest.


rule fetch:
    output:
        "resources/models/{model}/fetched.json",
    log:
        "logs/fetch/{model}.log",
    benchmark:
        "benchmarks/fetch/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        entry=registry_entry,
    message:
        "Fetching the model {wildcards.model}"
    shell:
        "mse fetch {wildcards.model} 2>&1 | tee {log:q}"


rule demo:
    input:
        recipe="resources/demo.yaml",
        landmarker="resources/models/face_landmarker/fetched.json",
    output:
        "data/demo/clips.csv",
    log:
        "logs/demo.log",
    benchmark:
        "benchmarks/demo.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        version=STAGES["demo"],
    message:
        "Making the demo corpus"
    shell:
        "mse demo data/demo --recipe {input.recipe:q} --jobs {threads} 2>&1 | tee {log:q}"


checkpoint manifest:
    input:
        corpus_table,
    output:
        "work/{dataset}/manifest.csv",
    log:
        "logs/{dataset}/manifest.log",
    benchmark:
        "benchmarks/{dataset}/manifest.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        dataset=dataset_json,
        version=STAGES["manifest"],
    message:
        "Checking the corpus {wildcards.dataset}"
    shell:
        "mse manifest {params.dataset:q} --out {output:q} 2>&1 | tee {log:q}"
