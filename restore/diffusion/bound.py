"""The variational bound as an estimate from one level: what a learned variance is trained on."""

from torch import Tensor

from restore.diffusion.parameterization import Predictor
from restore.loss.diffusion import variational_bound

NUM_LEVELS = 1000  # T of the bound: its terms compare t with t - 1/T
BOUND_WEIGHT = 0.001  # of L_vlb in the hybrid loss, Nichol & Dhariwal 2021, section 3.1


def estimated_bound(
    predictor: Predictor, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, region: Tensor | None
) -> Tensor:
    """L_vlb [B] in bits per dimension, of the predictor's `output` [B, 2C, H, W] for x_t and t [B].

    region [B, 1, H, W]: where it counts; None is everywhere.
    """
    schedule, s = predictor.schedule, (t - 1 / NUM_LEVELS).clamp(min=0)
    truth = schedule.posterior(x_t, x_0, t, s)
    mean = schedule.posterior(x_t, predictor.x0(output, x_t, t), t, s).mean
    small, large = (v.view(-1, 1, 1, 1) for v in schedule.log_variances(t, s))
    fraction = predictor.fraction(output)
    log_variance = fraction * large + (1 - fraction) * small
    terms = variational_bound(x_0, truth.mean, small, mean, log_variance, s == 0, region)
    return NUM_LEVELS * terms
