python train.py -m experiment=ddpm_classic data=digits benchmark=digits_half max_updates=2000 trainer.val_check_interval=1000 data.num_workers=0 seed=0,1,2
python train.py -m experiment=ddpm_plain data.num_workers=0 seed=0,1,2
python train.py -m experiment=inpaint_mnist_half max_updates=200 trainer.val_check_interval=50 trainer.limit_val_batches=8 callback.best.monitor=null data.num_workers=0 benchmark.mnist_masks.data.num_workers=0 seed=0,1,2
