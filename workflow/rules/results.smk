# From the predictions of all seeds to the table and the figures.


rule score:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
        beside=of_rows(CONFIG.baselines),
    output:
        metrics="results/{dataset}/{backbone}/metrics.csv",
        intervals="results/{dataset}/{backbone}/intervals.csv",
    log:
        "logs/{dataset}/{backbone}/score.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/score.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        decoding=decoding,
        samples=CONFIG.bootstrap_samples,
        version=STAGES["score"],
    message:
        "Scoring {wildcards.dataset} with {wildcards.backbone}"
    shell:
        "mse --log {log:q} score {input.predictions:q} {input.beside:q} --dataset {input.dataset:q}"
        " --out {output.metrics:q} --intervals {output.intervals:q} --decoding {params.decoding}"
        " --samples {params.samples} 2>&1 | tee -a {log:q}"


use rule score as score_ablations with:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
        beside=of_rows(dict.fromkeys([*CONFIG.ablations, *CONFIG.baselines])),
    output:
        metrics="results/{dataset}/{backbone}/ablations/metrics.csv",
        intervals="results/{dataset}/{backbone}/ablations/intervals.csv",
    log:
        "logs/{dataset}/{backbone}/ablations/score.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/ablations/score.tsv"
    message:
        "Scoring the ablations of {wildcards.dataset} with {wildcards.backbone}"


rule plot_training:
    input:
        of_all_seeds("history.csv"),
    output:
        report(
            "results/{dataset}/{backbone}/figures/training.{format}",
            caption="../report/training.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "training curves", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/plot-training.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-training.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the training curves of {wildcards.dataset} with {wildcards.backbone}"
    shell:
        "mse --log {log:q} plot training {input:q} --out {output:q} 2>&1 | tee -a {log:q}"


rule plot_predictions:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
    output:
        report(
            "results/{dataset}/{backbone}/figures/predictions.{format}",
            caption="../report/predictions.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "predictions and labels", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/plot-predictions.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-predictions.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the predictions for {wildcards.dataset} with {wildcards.backbone}"
    shell:
        "mse --log {log:q} plot predictions {input.dataset:q} {input.predictions:q} --out {output:q}"
        " 2>&1 | tee -a {log:q}"


rule plot_quality:
    input:
        "work/{dataset}/quality.csv",
    output:
        report(
            "results/{dataset}/{backbone}/figures/quality.{format}",
            caption="../report/quality.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "quality of clips and features", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/plot-quality.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-quality.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the quality of {wildcards.dataset}"
    shell:
        "mse --log {log:q} plot quality {input:q} --out {output:q} 2>&1 | tee -a {log:q}"


rule plot_comparison:
    input:
        "results/{dataset}/{backbone}/{variant_folder}intervals.csv",
    output:
        report(
            "results/{dataset}/{backbone}/{variant_folder,(ablations/)?}figures/comparison.{format}",
            caption="../report/comparison.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={
                "what": "{variant_folder}models beside each other",
                "LLM": "{backbone}",
            },
        ),
    log:
        "logs/{dataset}/{backbone}/{variant_folder}plot-comparison.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/{variant_folder}plot-comparison.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the models of {wildcards.dataset} with {wildcards.backbone} beside each other"
    shell:
        "mse --log {log:q} plot comparison {input:q} --out {output:q} 2>&1 | tee -a {log:q}"


rule plot_calibration:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
    output:
        report(
            "results/{dataset}/{backbone}/figures/calibration.{format}",
            caption="../report/calibration.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "calibration", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/plot-calibration.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-calibration.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing how sure {wildcards.backbone} is, and how right, on {wildcards.dataset}"
    shell:
        "mse --log {log:q} plot calibration {input.dataset:q} {input.predictions:q} --out {output:q}"
        " 2>&1 | tee -a {log:q}"


rule plot_labels:
    input:
        "work/{dataset}/dataset.h5",
    output:
        report(
            "results/{dataset}/{backbone}/figures/labels.{format}",
            caption="../report/labels.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "labels by split", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/plot-labels.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-labels.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the labels of {wildcards.dataset}"
    shell:
        "mse --log {log:q} plot labels {input:q} --out {output:q} 2>&1 | tee -a {log:q}"


rule table_page:
    input:
        metrics="results/{dataset}/{backbone}/{variant_folder}metrics.csv",
        intervals="results/{dataset}/{backbone}/{variant_folder}intervals.csv",
    output:
        report(
            "results/{dataset}/{backbone}/{variant_folder,(ablations/)?}metrics.html",
            caption="../report/metrics.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "{variant_folder}table of metrics", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/{variant_folder}table-page.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/{variant_folder}table-page.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Writing the table of {wildcards.dataset} with {wildcards.backbone} as a page"
    shell:
        "mse --log {log:q} table {input.metrics:q} {input.intervals:q} --out {output:q} 2>&1 | tee -a {log:q}"


# Clips, answers and what may tell why they are wrong, in one page that needs nothing beside it.
rule browse:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
        quality=looked_at,
    output:
        report(
            "results/{dataset}/{backbone}/browse.html",
            caption="../report/browse.rst",
            category="{dataset}",
            subcategory="{backbone}",
            labels={"what": "clips, to look at", "LLM": "{backbone}"},
        ),
    log:
        "logs/{dataset}/{backbone}/browse.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/browse.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    message:
        "Putting the clips of {wildcards.dataset} with {wildcards.backbone} into one page"
    shell:
        "mse --log {log:q} browse {input.predictions:q} --corpus {wildcards.dataset} --jobs {threads} --out {output:q}"
        " 2>&1 | tee -a {log:q}"


# What tells others what an adapter is, in its folder.
rule card:
    input:
        adapter="results/{dataset}/{backbone}/seed-{seed}/adapter/config.json",
        weights="results/{dataset}/{backbone}/seed-{seed}/adapter/adapter.safetensors",
        pipeline="results/{dataset}/{backbone}/seed-{seed}/adapter/pipeline.json",
        metrics="results/{dataset}/{backbone}/metrics.csv",
        intervals="results/{dataset}/{backbone}/intervals.csv",
    output:
        "results/{dataset}/{backbone}/seed-{seed}/adapter/README.md",
    log:
        "logs/{dataset}/{backbone}/card-{seed}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/card-{seed}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Describing the adapter of {wildcards.dataset} with {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "mse --log {log:q} adapter card $(dirname {output:q}) --metrics {input.metrics:q}"
        " --intervals {input.intervals:q} 2>&1 | tee -a {log:q}"
