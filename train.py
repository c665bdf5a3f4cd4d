"""python train.py experiment=NAME [group=choice] [key=value] [-m]

Trains an experiment, evaluates its best checkpoint on its benchmarks and writes the record.
`--cfg job` prints the config, `--help` the groups and their choices.
"""

from restore import errors
from restore.main.train import main

if __name__ == "__main__":
    errors.run(main)
