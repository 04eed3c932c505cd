"""What earlier_runs.zip holds: runs of two iterations by commit e98cdf5, the last without a version in checkpoints.

Networks and images are small everywhere; the same ones are set up here to go on with.
"""

import numpy as np

# {name: (script, flags)}
RUNS = {
    "cGAN_paper": ("train_cGAN", ["--recipe=paper"]),
    "cGAN_tuned": ("train_cGAN", ["--recipe=tuned", "--no_rotate=B"]),
    "CIN-GAN_paper": ("train_CIN_GAN", ["--recipe=paper", "--n_critic=1"]),
    "CIN-GAN_tuned": ("train_CIN_GAN", ["--recipe=tuned", "--n_critic=1", "--no_rotate=B"]),
}
COMMON = "--data_dir=pairs --num_iters=2 --batch_size=2 --num_gpu=0 --vgg_weights=random".split()


def write_pairs(folder):
    """Tasks A and B of 6 pairs, 32 x 32, of whole numbers that are the same on every machine."""
    folder.mkdir()
    for step, name in enumerate(("A_X", "A_Y", "B_X", "B_Y"), 1):
        pixels = np.arange(6 * 32 * 32, dtype=np.int64) * step
        np.save(folder / f"{name}.npy", (pixels * pixels % 991).astype(np.uint16).reshape(6, 32, 32))


def shrink_networks(patch):
    """Few filters and one residual block; `patch` is called with (module, name, value)."""
    import models

    resnet, unet, discriminator, critic = (
        getattr(models, name) for name in ("resnet", "tuned_generator", "patch_discriminator", "patch_critic")
    )
    few = (2, 4, 4, 4)
    patch(models, "resnet", lambda image, norm, blocks, *rest, **more: resnet(image, norm, 1, *rest, width=2, **more))
    patch(models, "tuned_generator", lambda **changes: unet((2, 4, 4), **changes))
    patch(models, "patch_discriminator", lambda: discriminator(few))
    patch(models, "patch_critic", lambda num_tasks, filters=few: critic(num_tasks, few[: len(filters)]))
