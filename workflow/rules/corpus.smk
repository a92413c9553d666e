# Models, the demo corpus, and from a corpus's table to the manifest.


# On the login node of a cluster: nodes that compute often have no network.
rule fetch:
    output:
        "resources/models/{model}/fetched.json",
    log:
        "logs/fetch/{model}.log",
    benchmark:
        "benchmarks/fetch/{model}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
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
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        version=STAGES["demo"],
    message:
        "Making the demo corpus"
    shell:
        "mse --log {log:q} demo data/demo --recipe {input.recipe:q} --jobs {threads} 2>&1 | tee -a {log:q}"


# For corpora of long recordings alone (`cut` in the corpus's YAML): what there is, then where utterances lie.
checkpoint recordings:
    input:
        corpus_tables,
    output:
        recordings="work/{dataset}/recordings/manifest.csv",
        excluded="work/{dataset}/recordings/excluded.csv",
    log:
        "logs/{dataset}/recordings.log",
    benchmark:
        "benchmarks/{dataset}/recordings.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        dataset=dataset_json,
        media=corpus_media,
        version=STAGES["manifest"],
    message:
        "Listing the recordings of {wildcards.dataset}"
    shell:
        "mse --log {log:q} manifest {params.dataset:q} --out {output.recordings:q} 2>&1 | tee -a {log:q}"


rule cut:
    input:
        recordings=ancient("work/{dataset}/recordings/manifest.csv"),
        media=recording_media,
        model=cut_model,
    output:
        "work/{dataset}/recordings/{shard}.csv",
    log:
        "logs/{dataset}/cut/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/cut/{shard}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(whisper_mb),
        runtime=minutes(60, a_gigabyte=100),
    params:
        clips=recording_digest,
        language=lambda wildcards: dataset(wildcards.dataset).language,
        speech=as_json(CONFIG.transcribe),
        settings=lambda wildcards: as_json(dataset(wildcards.dataset).cut),
        track=audio_track_option,
        version=STAGES["cut"],
    message:
        "Finding utterances in {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "mse --log {log:q} cut {input.recordings:q} --shard {wildcards.shard} --out {output:q}"
        " --language {params.language} --speech {params.speech:q} --settings {params.settings:q} {params.track:q}"
        " 2>&1 | tee -a {log:q}"


# Features that others extracted, in place of everything up to the shards.
checkpoint released:
    input:
        corpus_tables,
    output:
        manifest="work/{dataset}/manifest.csv",
        excluded="work/{dataset}/excluded.csv",
        features=directory("work/{dataset}/features"),
    log:
        "logs/{dataset}/import.log",
    benchmark:
        "benchmarks/{dataset}/import.tsv"
    wildcard_constraints:
        dataset=RELEASED,
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(released_mb),
        runtime=growing(60),
    params:
        dataset=dataset_json,
        version=STAGES["import"],
    message:
        "Importing the released features of {wildcards.dataset}"
    shell:
        "mse --log {log:q} import {params.dataset:q} --name {wildcards.dataset} --out work/{wildcards.dataset}"
        " 2>&1 | tee -a {log:q}"


checkpoint manifest:
    input:
        corpus_tables,
        utterances,
    output:
        manifest="work/{dataset}/manifest.csv",
        excluded="work/{dataset}/excluded.csv",
    log:
        "logs/{dataset}/manifest.log",
    benchmark:
        "benchmarks/{dataset}/manifest.tsv"
    wildcard_constraints:
        dataset=RAW,
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        dataset=dataset_json,
        media=corpus_media,
        recordings=recordings_option,
        version=STAGES["manifest"],
    message:
        "Checking the corpus {wildcards.dataset}"
    shell:
        "mse --log {log:q} manifest {params.dataset:q} --out {output.manifest:q} {params.recordings:q}"
        " 2>&1 | tee -a {log:q}"
