# The LLM made ready, one adapter a seed, and its answers for the test split.


rule convert:
    input:
        checkpoint_files,
    output:
        "resources/models/{backbone}/native.json",
    log:
        "logs/convert/{backbone}.log",
    benchmark:
        "benchmarks/convert/{backbone}.tsv"
    wildcard_constraints:
        backbone=CONVERTIBLE,
    conda:
        "../../environment.yml"
    resources:
        mem_mb=convert_mb,
        runtime=60,
    params:
        checkpoint=lambda wildcards: str(CHECKPOINTS[wildcards.backbone]),
        version=STAGES["convert"],
    message:
        "Making the LLM {wildcards.backbone} ready"
    shell:
        "mse backbone convert {params.checkpoint:q} --out $(dirname {output:q}) 2>&1 | tee {log:q}"


rule train:
    input:
        dataset="work/{dataset}/dataset.h5",
        llm=llm_mark,
    output:
        config="results/{dataset}/{backbone}/seed-{seed}/adapter/config.json",
        weights="results/{dataset}/{backbone}/seed-{seed}/adapter/adapter.safetensors",
        history="results/{dataset}/{backbone}/seed-{seed}/history.csv",
    log:
        "logs/{dataset}/{backbone}/train-{seed}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/train-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda wildcards: train_settings(wildcards).threads
    resources:
        mem_mb=llm_mb,
        runtime=720,
    params:
        llm=llm_folder,
        backbone=backbone_json,
        adapter=adapter_json,
        settings=lambda wildcards: as_json(train_settings(wildcards)),
        version=STAGES["train"],
    message:
        "Training on {wildcards.dataset} with {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "mse train {input.dataset:q} --llm {params.llm:q} --name {wildcards.backbone}"
        " --backbone {params.backbone:q} --seed {wildcards.seed} --out $(dirname {output.config:q})"
        " --history {output.history:q} --adapter {params.adapter:q} --settings {params.settings:q}"
        " 2>&1 | tee {log:q}"


rule predict:
    input:
        dataset="work/{dataset}/dataset.h5",
        llm=llm_mark,
        adapter="results/{dataset}/{backbone}/seed-{seed}/adapter/config.json",
        weights="results/{dataset}/{backbone}/seed-{seed}/adapter/adapter.safetensors",
    output:
        "results/{dataset}/{backbone}/seed-{seed}/predictions.csv",
    log:
        "logs/{dataset}/{backbone}/predict-{seed}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/predict-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda wildcards: train_settings(wildcards).threads
    resources:
        mem_mb=llm_mb,
        runtime=120,
    params:
        llm=llm_folder,
        backbone=backbone_json,
        settings=lambda wildcards: as_json(train_settings(wildcards)),
        version=STAGES["predict"],
    message:
        "Predicting {wildcards.dataset} with {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "mse predict {input.dataset:q} --llm {params.llm:q} --backbone {params.backbone:q}"
        " --adapter $(dirname {input.adapter:q}) --out {output:q} --settings {params.settings:q}"
        " 2>&1 | tee {log:q}"
