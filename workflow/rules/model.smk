# The LLM made ready, one adapter a seed, and answers for the test split.


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
        mem_mb=growing(convert_mb),
        runtime=growing(60),
    params:
        checkpoint=lambda wildcards: str(CHECKPOINTS[wildcards.backbone]),
        version=STAGES["convert"],
    message:
        "Making the LLM {wildcards.backbone} ready"
    shell:
        "mse --log {log:q} backbone convert {params.checkpoint:q} --out $(dirname {output:q}) 2>&1 | tee -a {log:q}"


# What the LLM must be shown to write each label: learned once for the adapters of all seeds.
rule pretrain:
    input:
        dataset="work/{dataset}/dataset.h5",
        llm=llm_mark,
    output:
        "results/{dataset}/{backbone}{variant}/fusion.safetensors",
    log:
        "logs/{dataset}/{backbone}{variant}/pretrain.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}{variant}/pretrain.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        mem_mb=growing(llm_mb),
        runtime=growing(240),
        gpu=1,
    params:
        llm=llm_folder,
        backbone=backbone_json,
        adapter=adapter_json,
        settings=pretrain_json,
        version=STAGES["pretrain"],
    message:
        "Learning what {wildcards.backbone}{wildcards.variant} must be shown for the labels of {wildcards.dataset}"
    shell:
        "mse --log {log:q} pretrain {input.dataset:q} --llm {params.llm:q} --name {wildcards.backbone}"
        " --backbone {params.backbone:q} --out {output:q} --adapter {params.adapter:q} --settings {params.settings:q}"
        " 2>&1 | tee -a {log:q}"


# One process trains and answers, for loading an LLM takes as long as the answers.
rule train:
    input:
        dataset="work/{dataset}/dataset.h5",
        llm=llm_mark,
        fusion=fusion_file,
    output:
        config="results/{dataset}/{backbone}{variant}/seed-{seed}/adapter/config.json",
        weights="results/{dataset}/{backbone}{variant}/seed-{seed}/adapter/adapter.safetensors",
        pipeline="results/{dataset}/{backbone}{variant}/seed-{seed}/adapter/pipeline.json",
        history="results/{dataset}/{backbone}{variant}/seed-{seed}/history.csv",
        predictions="results/{dataset}/{backbone}{variant}/seed-{seed}/predictions.csv",
    log:
        "logs/{dataset}/{backbone}{variant}/train-{seed}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}{variant}/train-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        mem_mb=growing(llm_mb),
        runtime=growing(720),
        gpu=1,
    params:
        llm=llm_folder,
        backbone=backbone_json,
        adapter=adapter_json,
        settings=train_json,
        fusion=fusion_option,
        version=[STAGES["train"], STAGES["answer"]],
    message:
        "Training on {wildcards.dataset} with {wildcards.backbone}{wildcards.variant}, seed {wildcards.seed}"
    shell:
        "mse --log {log:q} train {input.dataset:q} --llm {params.llm:q} --name {wildcards.backbone}"
        " --backbone {params.backbone:q} --seed {wildcards.seed} --out $(dirname {output.config:q})"
        " --history {output.history:q} --adapter {params.adapter:q} --settings {params.settings:q}"
        " {params.fusion:q} --predictions {output.predictions:q} 2>&1 | tee -a {log:q}"


rule zero_shot:
    input:
        dataset="work/{dataset}/dataset.h5",
        llm=llm_mark,
    output:
        "results/{dataset}/{backbone}/baselines/zero-shot/single/predictions.csv",
    log:
        "logs/{dataset}/{backbone}/zero-shot.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/zero-shot.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        mem_mb=growing(llm_mb),
        runtime=growing(120),
        gpu=1,
    params:
        llm=llm_folder,
        backbone=backbone_json,
        settings=answer_json,
        version=STAGES["answer"],
    message:
        "Asking {wildcards.backbone} without an adapter about {wildcards.dataset}"
    shell:
        "mse --log {log:q} answer {input.dataset:q} --llm {params.llm:q} --backbone {params.backbone:q}"
        " --out {output:q} --settings {params.settings:q} 2>&1 | tee -a {log:q}"


rule linear:
    input:
        "work/{dataset}/dataset.h5",
    output:
        "results/{dataset}/baselines/linear/single/predictions.csv",
    log:
        "logs/{dataset}/linear.log",
    benchmark:
        "benchmarks/{dataset}/linear.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(linear_mb),
        runtime=growing(240),
    params:
        sets=[f"--acoustic-set={name}" for name in CONFIG.adapter.acoustic_sets],
        version=STAGES["linear"],
    message:
        "Fitting a linear model to {wildcards.dataset}"
    shell:
        "mse --log {log:q} linear {input:q} --out {output:q} {params.sets:q} 2>&1 | tee -a {log:q}"
