"""python evaluate.py 'checkpoint=[A,B]' 'baseline=[telea]' 'benchmark=[X,Y]' [sampler=ddim ...]

Measures checkpoints and baselines on benchmarks. All that a checkpoint needs is in the checkpoint;
sampler= and guidance= replace its own.
"""

from restore import errors
from restore.main.evaluate import main

if __name__ == "__main__":
    errors.run(main)
