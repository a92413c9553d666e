# What results consist of.


def of_all_seeds(name, *within):
    """Input function: a file a seed, of the main experiment or within a folder of it."""
    folder = Path("results/{dataset}/{backbone}", *within, "seed-{seed}")
    return lambda wildcards: expand(
        str(folder / name),
        dataset=wildcards.dataset,
        backbone=wildcards.backbone,
        seed=CONFIG.seeds,
    )


def looked_at(wildcards):
    """What a page of clips shows beside the answers; released features have neither pictures nor sound."""
    described = dataset(wildcards.dataset)
    if not described.needs_media:
        return []
    landmarker = "resources/models/face_landmarker/fetched.json"
    faces = [landmarker] if "facial" in described.modalities else []
    return [f"work/{wildcards.dataset}/quality.csv", *faces]


def everything(wildcards):
    """Tables, figures, pages and cards of all experiments of the configuration."""
    found = []
    for experiment_name in CONFIG.experiments:
        corpus, _, llm = experiment_name.partition("/")
        described, folder = dataset(corpus), f"results/{experiment_name}"
        figures = ["training", "predictions", "calibration", "comparison", "labels"]
        figures += (
            ["quality"]
            if described.needs_media and set(described.modalities) != {"text"}
            else []
        )
        found += [
            f"{folder}/{name}"
            for name in ("metrics.csv", "metrics.html", "browse.html")
        ]
        found += [f"{folder}/figures/{name}.svg" for name in figures]
        found += [f"{folder}/seed-{seed}/adapter/README.md" for seed in CONFIG.seeds]
    return found


@cache
def say_once(message):
    logger.info(message)


def of_rows(names):
    """Input function: predictions of rows that stand in a table beside the main one's."""

    def files(wildcards):
        folder = Path("results", wildcards.dataset)
        found = []
        for name in names:
            if name == "linear":
                found.append(f"{folder}/baselines/linear/single/predictions.csv")
            elif name == "zero-shot":
                within = f"{folder}/{wildcards.backbone}/baselines"
                found.append(f"{within}/zero-shot/single/predictions.csv")
            elif experiment(wildcards, name).applies:
                found += of_all_seeds("predictions.csv", "variants", name)(wildcards)
            else:
                say_once(
                    f"{wildcards.dataset}, {wildcards.backbone}: no {name}, for it would change nothing, or leave nothing"
                )
        return found

    return files
