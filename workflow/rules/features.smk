# From recordings to feature shards, and from those to dataset.h5.


# The sound is kept: were it temporary, making it again for one stage would make the others run again. It may be
# deleted by hand (work/CORPUS/segments/*.h5); nothing is made anew for that alone.
rule segment:
    input:
        manifest=ancient("work/{dataset}/manifest.csv"),
        media=shard_media,
    output:
        sound="work/{dataset}/segments/{shard}.h5",
        facts="work/{dataset}/segments/{shard}.csv",
    log:
        "logs/{dataset}/segment/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/segment/{shard}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=minutes(10, a_gigabyte=5),
    params:
        clips=shard_digest,
        settings=segment_json,
        version=STAGES["segment"],
    message:
        "Cutting the sound of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "mse --log {log:q} segment {input.manifest:q} --shard {wildcards.shard} --dataset {wildcards.dataset}"
        " --out {output.sound:q} --facts {output.facts:q} --settings {params.settings:q} 2>&1 | tee -a {log:q}"


rule acoustic:
    input:
        sound="work/{dataset}/segments/{shard}.h5",
    output:
        "work/{dataset}/features/acoustic/{set}/{shard}.h5",
    log:
        "logs/{dataset}/acoustic/{set}/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/acoustic/{set}/{shard}.tsv"
    wildcard_constraints:
        dataset=RAW,
        set=rf"(?!({HEARD_BY_MODEL or '(?!)'})/)[A-Za-z0-9][\w.-]*",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=minutes(10, a_minute=0.5),
    params:
        settings=acoustic_json,
        version=STAGES["acoustic"],
    message:
        "Describing the sound of {wildcards.dataset} by {wildcards.set}, shard {wildcards.shard}"
    shell:
        "mse --log {log:q} acoustic {input.sound:q} --out {output:q} --threads {threads}"
        " --settings {params.settings:q} 2>&1 | tee -a {log:q}"


use rule acoustic as speech_model with:
    input:
        sound="work/{dataset}/segments/{shard}.h5",
        model=speech_model,
    wildcard_constraints:
        dataset=RAW,
        set=HEARD_BY_MODEL or "(?!)",
    threads: SPEECH_MODEL_THREADS
    resources:
        mem_mb=growing(4000),
        runtime=minutes(20, a_minute=1.5),
        gpu=1,


rule facial:
    input:
        facts="work/{dataset}/segments/{shard}.csv",
        sound="work/{dataset}/segments/{shard}.h5",
        media=shard_media,
        model="resources/models/face_landmarker/fetched.json",
    output:
        "work/{dataset}/features/facial/{shard}.h5",
    log:
        "logs/{dataset}/facial/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/facial/{shard}.tsv"
    wildcard_constraints:
        dataset=RAW,
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1500),
        runtime=minutes(10, a_minute=1.5),
    params:
        settings=as_json(CONFIG.facial),
        version=STAGES["facial"],
    message:
        "Describing the faces of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "mse --log {log:q} facial {input.facts:q} {input.sound:q} --threads {threads} --out {output:q}"
        " --dataset {wildcards.dataset} --settings {params.settings:q} 2>&1 | tee -a {log:q}"


rule transcribe:
    input:
        sound="work/{dataset}/segments/{shard}.h5",
        model=transcribe_model,
        words=cut_words,
    output:
        "work/{dataset}/transcripts/{shard}.csv",
    log:
        "logs/{dataset}/transcribe/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/transcribe/{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(whisper_mb),
        runtime=minutes(20, a_minute=whisper_slowness),
    params:
        language=lambda wildcards: dataset(wildcards.dataset).language,
        settings=as_json(CONFIG.transcribe),
        recordings=cut_words_option,
        version=STAGES["transcribe"],
    message:
        "Recognising the words of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "mse --log {log:q} transcribe {input.sound:q} --out {output:q} --language {params.language:q}"
        " --threads {threads} --settings {params.settings:q} {params.recordings:q} 2>&1 | tee -a {log:q}"


rule quality:
    input:
        manifest="work/{dataset}/manifest.csv",
        facts=of_all_shards("facts", ".csv"),
        acoustic=of_all_sets,
        facial=of_all_shards("facial", ".h5"),
        transcripts=of_all_shards("transcripts", ".csv"),
    output:
        "work/{dataset}/quality.csv",
    log:
        "logs/{dataset}/quality.log",
    benchmark:
        "benchmarks/{dataset}/quality.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=minutes(20, a_gigabyte=2),
    params:
        stages=stage_options("facts", "facial", "transcripts"),
        sets=set_options,
        text=text_from,
        language=lambda wildcards: dataset(wildcards.dataset).language,
        settings=as_json(CONFIG.quality),
        version=STAGES["quality"],
    message:
        "Judging the clips of {wildcards.dataset}"
    shell:
        "mse --log {log:q} quality --manifest {input.manifest:q} {params.stages:q} {params.sets:q}"
        " --text-from {params.text} --language {params.language} --out {output:q}"
        " --settings {params.settings:q} 2>&1 | tee -a {log:q}"


rule assemble:
    input:
        manifest="work/{dataset}/manifest.csv",
        quality="work/{dataset}/quality.csv",
        acoustic=of_all_sets,
        facial=of_all_shards("facial", ".h5"),
    output:
        "work/{dataset}/dataset.h5",
    log:
        "logs/{dataset}/assemble.log",
    benchmark:
        "benchmarks/{dataset}/assemble.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=minutes(20, a_gigabyte=2),
    params:
        dataset=dataset_json,
        stages=stage_options("facial"),
        sets=set_options,
        extraction=extraction_option,
        settings=as_json(CONFIG.assemble),
        version=STAGES["assemble"],
    message:
        "Assembling {wildcards.dataset}"
    shell:
        "mse --log {log:q} assemble {params.dataset:q} --name {wildcards.dataset} --manifest {input.manifest:q}"
        " --quality {input.quality:q} {params.stages:q} {params.sets:q} {params.extraction:q} --out {output:q}"
        " --settings {params.settings:q} 2>&1 | tee -a {log:q}"
