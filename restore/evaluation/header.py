"""Columns of the tables that an evaluation writes, which are therefore names of no metric."""

# Of experiments/results.csv, in the order in which its header starts.
FIXED = (
    "experiment",
    "checkpoint",
    "kind",
    "benchmark",
    "protocol",
    "feature",
    "definitions",
    "n",
    "seeds",
    "sampler",
    "sampler_settings",
    "guidance",
    "precision",
    "nfe",
    "parameters",
    "seconds_per_image",
    "device",
    "commit",
    "dirty",
)
LOWER = "lower_is_better"  # names of metrics, with ";" between them
# Columns that older files of it lack: they come behind what is there.
ADDED = ("macs", "cost_size", "peak_memory_mib", "intervals", LOWER)
# Of a row per image.
IMAGE = ("index", "name", "bucket")
# All of these, and those that a run folder's results.csv and per_image.csv have besides.
TAKEN = frozenset({*FIXED, *ADDED, *IMAGE, "method", "samples"})
