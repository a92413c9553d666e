# What a job asks a cluster for. Memory (MB) and time (minutes) grow by half with each attempt, so that a job which was
# ended for taking too much is given more by `--retries`; a single machine plans with the memory alone, if it is told to.
# Each is about three times of what was measured on two cores (docs/features.md, docs/training.md).


def growing(amount):
    """An amount that each attempt raises; a number, or a function of wildcards and input."""

    def resource(wildcards, input, attempt):
        first = amount(wildcards, input) if callable(amount) else amount
        return round(first * (1 + attempt) / 2)

    return resource


def minutes(least, a_minute=0.0, a_gigabyte=0.0):
    """Time: some minutes, and more for each minute that a shard's clips last, and for each gigabyte of input."""

    def amount(wildcards, input):
        each = a_minute(wildcards) if callable(a_minute) else a_minute
        longer = each * clip_minutes(wildcards) if each else 0
        return least + longer + (a_gigabyte * input.size_mb / 1000 if a_gigabyte else 0)

    return growing(amount)


class Lasting(NamedTuple):
    """What is read of the table of `mse segment`."""

    duration_s: float  # 0 where nothing can be used


def clip_minutes(wildcards):
    """How long a shard's clips are: as `mse segment` found, or as the manifest has it while that has not run."""
    facts = f"work/{wildcards.dataset}/segments/{wildcards.shard}.csv"
    if os.path.isfile(facts):
        rows = checked(read_rows, Path(facts), Lasting, "mse segment")
        return sum(row.duration_s for row in rows if row.duration_s > 0) / 60
    clips = shards(wildcards.dataset)[wildcards.shard]
    longest_s = mse_config.segment_settings(
        CONFIG, dataset(wildcards.dataset), SAID
    ).max_s
    lengths_s = (clips["end_s"] - clips["start_s"]).fillna(longest_s)
    return float(lengths_s.clip(upper=longest_s).sum()) / 60


def whisper_mb(wildcards, input):
    """Weights of half precision may be computed with in single."""
    return 1300 + 2.2 * weights_of_whisper_mb()


def whisper_slowness(wildcards):
    """Minutes for each of sound, on one thread; whisper-tiny.en (75 MB) took 0.2, larger ones take more."""
    return 1.5 * max(1, weights_of_whisper_mb() / 145)


def weights_of_whisper_mb():
    folder = checked(model_folder, CONFIG.transcribe.model, places.MODELS, REGISTRY)
    return sum(places.weights_mb(folder))


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
    manifest = Path(f"work/{wildcards.dataset}/manifest.csv")
    clips = (
        manifest.read_bytes().count(b"\n") if manifest.is_file() else 0
    )  # asked again once it is there
    return 1500 + 0.5 * clips
