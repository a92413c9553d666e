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
        "mse score {input.predictions:q} {input.beside:q} --dataset {input.dataset:q} --out {output.metrics:q}"
        " --intervals {output.intervals:q} --decoding {params.decoding} --samples {params.samples} 2>&1 | tee {log:q}"


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
        "results/{dataset}/{backbone}/figures/training.{format}",
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
        "mse plot training {input:q} --out {output:q} 2>&1 | tee {log:q}"


rule plot_predictions:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
    output:
        "results/{dataset}/{backbone}/figures/predictions.{format}",
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
        "mse plot predictions {input.dataset:q} {input.predictions:q} --out {output:q} 2>&1 | tee {log:q}"


rule plot_coverage:
    input:
        "work/{dataset}/quality.csv",
    output:
        "results/{dataset}/{backbone}/figures/coverage.{format}",
    log:
        "logs/{dataset}/{backbone}/plot-coverage.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-coverage.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the coverage of {wildcards.dataset}"
    shell:
        "mse plot coverage {input:q} --out {output:q} 2>&1 | tee {log:q}"


rule plot_comparison:
    input:
        "results/{dataset}/{backbone}/intervals.csv",
    output:
        "results/{dataset}/{backbone}/figures/comparison.{format}",
    log:
        "logs/{dataset}/{backbone}/plot-comparison.{format}.log",
    benchmark:
        "benchmarks/{dataset}/{backbone}/plot-comparison.{format}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the models of {wildcards.dataset} with {wildcards.backbone} beside each other"
    shell:
        "mse plot comparison {input:q} --out {output:q} 2>&1 | tee {log:q}"


# Clips, answers and what may tell why they are wrong, in one page that needs nothing beside it.
rule browse:
    input:
        dataset="work/{dataset}/dataset.h5",
        predictions=of_all_seeds("predictions.csv"),
        quality=looked_at,
    output:
        "results/{dataset}/{backbone}/browse.html",
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
        "mse browse {input.predictions:q} --corpus {wildcards.dataset} --jobs {threads} --out {output:q}"
        " 2>&1 | tee {log:q}"
