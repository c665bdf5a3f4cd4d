"""Formats of others: what a file of theirs computes is what the model computes, and back."""

import errno
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from entry import Command
from small_models import (
    BLIND,
    COLORIZER,
    CONDITIONAL,
    PIXELS,
    PRIOR,
    SKETCHER,
    part,
    task,
    write_model,
    write_run,
)
from test_bundle import export
from torch import Tensor

import restore
from restore import diffusers_folder, zoo
from restore.build import restored
from restore.evaluation import load
from restore.evaluation.published import Published
from restore.export import diffusers as diffusers_export
from restore.export import kair, onnx
from restore.export.write import FORMATS
from restore.network.dncnn import DnCNN
from restore.network.drunet import DRUNet
from restore.network.ffdnet import FFDNet
from restore.types import Facts, InputError, Observation

SLOW = (pytest.mark.slow, pytest.mark.ci)


def image(*size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def observed(given: Tensor, **more: Any) -> Observation:
    index = torch.zeros(len(given), dtype=torch.int64)
    return Observation(input=given, index=index, name=[""] * len(given), **more)


KAIR = {
    "DnCNN": (DnCNN(3, 4, 3), {"width": 4, "depth": 3}),
    "FFDNet": (FFDNet(3, 4, 3), {"width": 4, "depth": 3}),
    "DRUNet": (DRUNet(3, 2, 1), {"width": 2, "num_blocks": 1}),
}


@pytest.mark.parametrize("name", KAIR)
def test_a_kair_file_is_one_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network, settings = KAIR[name]
    trained = part(f"restore.network.kair.Trainable{name}", **settings)
    node = task("restore.task.denoising.Denoiser", trained, loss=PIXELS)
    run = write_run(node, tmp_path, Facts(3, 3, None, None))
    folder = export(run, tmp_path / "kair", "--format", "kair")
    path = folder / "model.pth"
    state = torch.load(path, weights_only=True)
    assert state.keys() == network.state_dict().keys()
    published = Published(network, str(path))
    seen = observed(image(2, 3, 13, 18), sigma=torch.tensor([0.1, 0.4]))
    with torch.no_grad():
        wanted = restored(zoo.read(run).content).restore(seen)[:, 0]
        assert torch.equal(published(seen), wanted)
        own = restored(zoo.read(run).content)
        made = kair.method(own, path, {"experiment": "mine"})
        assert made.name == "mine" and torch.equal(made.restore(seen, 1)[:, 0], wanted)
        other = tmp_path / "other.pth"
        torch.save({key: one * 2 for key, one in state.items()}, other)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RESTORE_WEIGHTS", "elsewhere")  # where a file was written counts alone
        doubled = kair.method(own, Path("other.pth"), {"experiment": "mine"})
        assert torch.equal(
            doubled.module.state_dict()[first := next(iter(state))], 2 * state[first]
        )
        assert torch.equal(own.restore(seen)[:, 0], wanted)  # the file's weights are not its own
    if name != "DnCNN":
        with pytest.raises(InputError, match="needs noise levels"):
            restored(zoo.read(run).content).restore(observed(image(1, 3, 16, 16)))


def test_what_kair_has_no_layout_for_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_model("blind", tmp_path)
    export(run, tmp_path / "kair", "--format", "kair", code=2)
    export(run, tmp_path / "diffusers", "--format", "diffusers", code=2)
    export(run, tmp_path / "half", "--format", "kair", "--half", code=2)
    said = capsys.readouterr().err
    assert "--format kair takes network=dncnn, ffdnet or drunet, not BiasFreeUNet" in said
    assert "--format diffusers takes a prior of network=unet, not BiasFreeUNet" in said
    assert "belong to --format bundle" in said and not (tmp_path / "kair").exists()


UNETS = {
    "ddpm": {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4},
    "google": {  # as google/ddpm-cifar10-32
        **{"block_out_channels": (8, 16), "layers_per_block": 2, "norm_num_groups": 8},
        **{"freq_shift": 1, "flip_sin_to_cos": False, "downsample_padding": 0, "norm_eps": 1e-6},
        "attention_head_dim": None,
    },
    "attention_groups": {
        **{"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4},
        "attn_norm_num_groups": 2,
    },
    "scale_shift": {
        **{"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4},
        **{"resnet_time_scale_shift": "scale_shift", "in_channels": 1, "out_channels": 1},
    },
    "no_attention": {
        **{"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4},
        **{"add_attention": False, "down_block_types": ("DownBlock2D",) * 2},
        **{"up_block_types": ("UpBlock2D",) * 2, "num_class_embeds": 5},
    },
}
BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


def peer(**settings: Any) -> Any:
    """A UNet2DModel with random weights."""
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.UNet2DModel(sample_size=16, **{**BLOCKS, **settings}).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.mark.parametrize("name", UNETS)
def test_a_folder_of_diffusers_is_a_prior(tmp_path: Path, name: str) -> None:
    made = peer(**UNETS[name])
    made.save_pretrained(tmp_path / "peer")
    own = restored(zoo.read(tmp_path / "peer").content)
    x, step = image(3, made.config.in_channels, 16, 24), torch.tensor([0, 17, 999])
    label = () if own.facts.num_classes is None else (torch.tensor([0, 2, 4]),)
    assert own.facts.num_classes == (4 if label else None)
    with torch.no_grad():
        wanted = made(x, step, *label).sample
        found = own.network(x, (step + 1) / 1000, *label)
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))
    assert (own.parameterization, own.clip) == ("eps", True)  # Ho et al. 2020: no scheduler says


def test_weights_of_half_precision_and_with_names_of_old_are_read(tmp_path: Path) -> None:
    made = peer(**UNETS["ddpm"])
    made.save_pretrained(tmp_path)
    place = tmp_path / "diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    state = {}
    for key, tensor in safetensors.torch.load_file(place).items():
        for now, then in old.items():
            key = key.replace(now, then)
        state[key] = tensor.half()
    assert any(".proj_attn." in key for key in state)
    safetensors.torch.save_file(state, place)
    found = restored(zoo.read(tmp_path).content).network.state_dict()
    for key, tensor in made.state_dict().items():
        assert torch.equal(found[key], tensor.half().float()), key


def test_a_folder_fills_holes_and_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    peer(**UNETS["ddpm"]).save_pretrained(folder)
    model = restore.load(folder, device="cpu")
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    hole = np.zeros((16, 16), dtype=bool)
    hole[4:9, 5:12] = True
    made = model(photo, hole, steps=11)
    assert np.array_equal(made[~hole], photo[~hole]) and not np.array_equal(made, photo)
    config = json.loads((folder / "config.json").read_text())
    for change, says in (
        ({"_class_name": "UNet2DConditionModel"}, "not of UNet2DModel"),
        ({"act_fn": "mish"}, "act_fn='mish' is not served"),
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "SkipDownBlock2D is not served"),
        ({"norm_num_groups": 3}, "are not in norm_num_groups=3 groups"),
        ({"attn_norm_num_groups": 0}, "16 channels are not in attn_norm_num_groups=0 groups"),
        ({"in_channels": 5}, "out_channels=3 is neither in_channels=5 nor twice that"),
        ({"in_channels": None}, "in_channels=None has the wrong type: it takes int"),
        ({"out_channels": "3"}, "out_channels='3' has the wrong type: it takes int"),
        ({"num_class_embeds": 1}, "num_class_embeds=1 must be at least 2"),
        ({"in_channels": 0}, "in_channels=0 must be at least 1"),
        ({"out_channels": 0}, "out_channels=0 must be at least 1"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[1]", "holds no settings"),
    ):
        text = change if isinstance(change, str) else json.dumps({**config, **change})
        (folder / "config.json").write_text(text)
        with pytest.raises(InputError, match=says) as refused:
            restore.load(folder)
        assert "\n" not in str(refused.value)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="save the model by save_pretrained"):
        restore.load(folder)


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        ({"beta_schedule": "linear", "beta_end": 0.01, "prediction_type": "sample"}, "LinearBeta"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "Cosine"),
        ({"beta_schedule": "scaled_linear", "beta_start": 0.001, "clip_sample": False}, "Given"),
        ({"beta_schedule": "linear", "rescale_betas_zero_snr": True}, "ZeroTerminalSNR"),
        ({"beta_schedule": "linear", "num_train_timesteps": 200}, "LinearBeta"),
    ],
)
def test_a_pipeline_brings_its_schedule(
    tmp_path: Path, scheduler: dict[str, Any], name: str
) -> None:
    diffusers = pytest.importorskip("diffusers")
    kind = {"prediction_type": "v_prediction", **scheduler}
    theirs = diffusers.DDPMScheduler(**kind)
    made = peer(**UNETS["ddpm"])
    diffusers.DDPMPipeline(made, theirs).save_pretrained(tmp_path / "pipeline")
    made.save_pretrained(tmp_path / "beside")  # as google/ddpm-cifar10-32 has it
    theirs.save_pretrained(tmp_path / "beside")
    wanted = {"sample": "x0", "v_prediction": "v"}[kind["prediction_type"]]
    for place in ("pipeline", "pipeline/unet", "beside"):
        own = restored(zoo.read(tmp_path / place).content)
        assert type(own.schedule).__name__ == name and own.clip == theirs.config.clip_sample
        assert own.parameterization == wanted
        alpha_bar = own.schedule.alpha_bar[1:].float()
        assert torch.allclose(alpha_bar, theirs.alphas_cumprod, atol=1e-6)
        assert own.network.num_steps == len(alpha_bar)


@pytest.mark.parametrize(
    ("name", "clips"),
    [
        ("DDPMScheduler", True),
        ("DDIMScheduler", True),
        ("PNDMScheduler", False),
        ("DPMSolverMultistepScheduler", False),
    ],
)
def test_a_scheduler_without_the_word_clips_as_its_class_does(
    tmp_path: Path, name: str, clips: bool
) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = getattr(diffusers, name)()
    peer(**UNETS["ddpm"]).save_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path)
    place = tmp_path / "scheduler_config.json"
    said = json.loads(place.read_text())
    assert said.pop("clip_sample", False) == clips
    place.write_text(json.dumps(said))
    assert restored(zoo.read(tmp_path).content).clip == clips


UNET = part("restore.network.unet.UNet", width=32, multipliers=[1, 1], num_blocks=1, attention=[])
OURS = {
    "plain": ({**PRIOR, "network": UNET}, Facts(3, 3, 16, None)),
    "added": (
        {
            **{**PRIOR, "network": {**UNET, "modulation": "added"}, "clip": False},
            "schedule": {"_target_": "restore.diffusion.schedule.Cosine", "offset": 0.02},
        },
        Facts(3, 3, 16, None),
    ),
    "attends": (
        {
            **PRIOR,
            "network": part(
                "restore.network.unet.UNet",
                **{"width": 32, "multipliers": [1, 1, 2], "num_blocks": 2, "attention": [2, 4]},
                head_size=32,  # one head, two heads
            ),
            **{"class_conditional": True, "learned_variance": True, "parameterization": "eps"},
            "schedule": {"_target_": "restore.diffusion.schedule.LinearBeta"},
        },
        Facts(1, 1, None, 6),
    ),
    "terminal": (
        {
            **{**PRIOR, "network": UNET},
            "schedule": {
                "_target_": "restore.diffusion.schedule.ZeroTerminalSNR",
                "base": {"_target_": "restore.diffusion.schedule.Cosine"},
            },
        },
        Facts(3, 3, 16, None),
    ),
}


@pytest.mark.parametrize("key", ["vae", "vqvae"])
def test_a_unet_of_latents_is_no_prior_of_images(tmp_path: Path, key: str) -> None:
    """Latents of a VQModel have three channels, as images have (CompVis/ldm-celebahq-256)."""
    node, facts = OURS["plain"]
    folder = tmp_path / "pipeline"
    folder.mkdir()
    diffusers_export.write(restored(zoo.read(write_run(node, tmp_path, facts)).content), folder)
    index = folder / "model_index.json"
    said = json.loads(index.read_text())
    index.write_text(json.dumps({**said, key: [None, None]}))
    zoo.read(folder)
    index.write_text(json.dumps({**said, key: ["diffusers", "AnyModel"]}))
    for place in (folder, folder / "unet"):
        with pytest.raises(InputError, match=f"makes latents of a {key}, and no images"):
            zoo.read(place)


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        ({"thresholding": True}, "thresholding=True is not served, only False"),
        ({"clip_sample_range": 2.0}, "clip_sample_range=2.0 is not served, only 1.0"),
        ({"clip_sample_range": 2.0, "clip_sample": False}, None),
        ({"num_train_timesteps": None}, "num_train_timesteps=None has the wrong type"),
        ({"num_train_timesteps": 0}, "num_train_timesteps=0 must be at least 1"),
        ({"prediction_type": ["epsilon"]}, "prediction_type=.'epsilon'. has the wrong type"),
        ({"prediction_type": "flow"}, "prediction_type=flow is not served"),
        ({"beta_schedule": "scaled_linear", "beta_start": "0"}, "beta_start='0' has the wrong"),
        ({"trained_betas": ["x"]}, "trained_betas=.'x'. has the wrong type"),
        ({"_class_name": 1}, "_class_name=1 has the wrong type: it takes str"),
        ({"clip_sample": 1}, "clip_sample=1 has the wrong type: it takes bool"),
        ({"rescale_betas_zero_snr": "no"}, "rescale_betas_zero_snr='no' has the wrong type"),
    ],
)
def test_a_scheduler_that_is_another_or_none_is_refused(
    tmp_path: Path, clips: dict[str, Any], says: str | None
) -> None:
    node, facts = OURS["plain"]
    run = write_run(node, tmp_path, facts)
    folder = export(run, tmp_path / "pipeline", "--format", "diffusers")
    place = folder / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | clips))
    if says is None:
        assert not restored(zoo.read(folder).content).clip
        return
    with pytest.raises(InputError, match=says):
        zoo.read(folder)


@pytest.mark.parametrize(
    "name", ["FlowMatchEuler", "EDMEuler", "KarrasVe", "CMStochasticIterative"]
)
def test_a_scheduler_of_other_noise_levels_is_refused(tmp_path: Path, name: str) -> None:
    node, facts = OURS["plain"]
    run = write_run(node, tmp_path, facts)
    folder = export(run, tmp_path / "pipeline", "--format", "diffusers")
    said = {"_class_name": f"{name}Scheduler", "num_train_timesteps": 1000}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=f"{name}Scheduler is not served, only schedulers that"):
        zoo.read(folder)


@pytest.mark.parametrize("name", OURS)
def test_our_prior_in_diffusers_says_the_same(tmp_path: Path, name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    node, facts = OURS[name]
    run = write_run(node, tmp_path, facts)
    folder = export(run, tmp_path / "pipeline", "--format", "diffusers")
    pipeline = diffusers.DDPMPipeline.from_pretrained(str(folder))
    own, back = (restored(zoo.read(one).content) for one in (run, folder))
    x, step = image(3, facts.image_channels, 16, 24), torch.tensor([0, 17, 999])
    label = () if facts.num_classes is None else (torch.tensor([0, 2, 6]),)
    time = (step + 1) / 1000
    with torch.no_grad():
        wanted = own.network(x, time, *label)
        theirs = pipeline.unet.eval()(x, step, *label).sample
        again = back.network(x, time, *label)
    scale = float(wanted.abs().max())
    assert scale > 0.1
    assert torch.allclose(theirs, wanted, atol=1e-5 * scale)
    assert torch.allclose(again, wanted, atol=1e-5 * scale)
    scheduler = pipeline.scheduler
    assert torch.allclose(own.schedule.alpha_bar[1:].float(), scheduler.alphas_cumprod, atol=1e-6)
    assert back.parameterization == own.parameterization and back.facts == own.facts
    assert (back.learned_variance, back.clip) == (own.learned_variance, own.clip)
    assert scheduler.config.clip_sample == own.clip
    kinds = {True: "learned_range", False: "fixed_small"}
    assert scheduler.config.variance_type == kinds[own.learned_variance]
    names = {path.name for path in folder.iterdir()}
    assert names <= {*FORMATS["diffusers"].FILES}  # those that an export is refused for
    weights, settings = (folder / "unet" / one for one in (diffusers_folder.WEIGHTS, "config.json"))
    assert weights.stat().st_mode == settings.stat().st_mode  # whoever reads one reads the other


def test_a_pipeline_is_measured_by_the_sampler_and_guidance_of_its_model(tmp_path: Path) -> None:
    """No folder of diffusers holds them."""
    guidance = {"_target_": "restore.diffusion.guidance.Replacement"}
    node = {**SKETCHER, "network": UNET, "guidance": guidance, "seed": 3}
    run = write_run(node, tmp_path, Facts(3, 3, 16, None))
    folder = export(run, tmp_path / "pipeline", "--format", "diffusers")
    stored, own = zoo.read(run).content, load.method(run, {})
    stored["config"]["seed"] = 7
    made = FORMATS["diffusers"].method(own.module, folder, stored)
    assert (made.name, made.seed, made.num_calls) == ("own", 7, own.num_calls)
    assert made.sampling == own.sampling
    hole = (image(1, 1, 16, 16) > 0).float()
    seen = observed(image(1, 3, 16, 16) * (1 - hole), hole=hole)
    wanted = own.restore(seen, 1)
    assert torch.allclose(made.restore(seen, 1), wanted, atol=1e-4)


CODEC = {
    "_target_": "restore.task.codec.Codec",
    "network": part(
        "restore.network.autoencoder_kl.AutoencoderKL", width=4, multipliers=[1], latent_channels=2
    ),
}


def test_priors_that_diffusers_cannot_hold_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = Facts(3, 3, 16, None)
    mixed = part("restore.network.unet.UNet", width=6, multipliers=[1, 2], num_blocks=1)
    heads = {**UNET, "multipliers": [1, 3, 4], "attention": [2, 4], "head_size": 64}
    for number, (change, says) in enumerate(
        [
            ({"network": mixed}, "groups of"),
            ({"network": heads}, "heads of [64, 96] channels"),
            ({"network": {**UNET, "multipliers": [2, 1]}}, "multipliers must begin with 1"),
            ({"schedule": {"_target_": "restore.diffusion.schedule.EDM"}}, "schedules of steps"),
            (
                {
                    "schedule": {
                        "_target_": "restore.diffusion.schedule.LinearBeta",
                        "num_steps": 100,
                    }
                },
                "schedules of 1000 steps",
            ),
            ({"codec": CODEC}, "holds no task.codec: use --format bundle"),
            ({"condition": CONDITIONAL["condition"]}, "holds no task.condition: use --format"),
            ({"parameterization": "edm"}, "no task.parameterization=edm, only eps, x0, v: use"),
            ({"parameterization": "velocity"}, "no task.parameterization=velocity, only eps"),
        ]
    ):
        run = write_run({**PRIOR, "network": UNET, **change}, tmp_path, facts, f"run{number}")
        export(run, tmp_path / "out", "--format", "diffusers", code=2)
        assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_reading_folders_of_diffusers_needs_no_diffusers(tmp_path: Path) -> None:
    import subprocess

    peer(**UNETS["ddpm"]).save_pretrained(tmp_path / "peer")
    code = "import sys, restore; restore.load(sys.argv[1]); sys.exit('diffusers' in sys.modules)"
    place = str(tmp_path / "peer")
    assert subprocess.run([sys.executable, "-c", code, place]).returncode == 0


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs for sides of 128 px at most; test_onnx_fill.py has the fill of the longest side."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    from restore.export import onnx_fill

    monkeypatch.setattr(onnx_fill, "MOST", 128)
    monkeypatch.setattr(onnx_fill, "LEVELS", 7)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    "name",
    [
        "denoiser",
        pytest.param("blind", marks=pytest.mark.slow),
        *(pytest.param(one, marks=SLOW) for one in ("colorizer", "inpainter")),
    ],
)
def test_onnx_of_any_size(tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    run = write_model(name, tmp_path)
    folder = export(run, tmp_path / "onnx", "--format", "onnx")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    names = [one.name for one in session.get_inputs()]
    assert names == ["input", *{"denoiser": ["sigma"], "inpainter": ["hole"]}.get(name, [])]
    assert json.loads((folder / "model.onnx.json").read_text()).keys() == {*names, "restored"}
    own = restored(zoo.read(run).content)
    for batch, height, width in ((1, 33, 50), (3, 64, 17), (2, 16, 16), (1, 97, 128)):
        seen = observed(image(batch, own.facts.input_channels, height, width))
        if "sigma" in names:
            seen["sigma"] = torch.linspace(0.1, 0.5, batch)
        if "hole" in names:
            seen["hole"] = (image(batch, 1, height, width) > -0.6).float()
            seen["input"] = seen["input"] * (1 - seen["hole"])
        given: dict[str, Any] = {key: value for key, value in seen.items() if key in names}
        found = session.run(None, {key: value.numpy() for key, value in given.items()})[0]
        with torch.no_grad():
            restored_here = own.restore(seen)[:, 0].numpy()
        assert np.abs(found - restored_here).max() < 1e-4, (batch, height, width)


def test_what_has_no_onnx_graph_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_model("prior", tmp_path)
    export(run, tmp_path / "onnx", "--format", "onnx", code=2)
    assert "draws by a sampler in 6 calls" in capsys.readouterr().err
    export(run, tmp_path / "onnx", "--format", "diffusers", "--size", "64", code=2)
    assert "--size belongs to --format onnx" in capsys.readouterr().err
    export(run, tmp_path / "onnx", "--size", "64", code=2)
    assert "--size belongs to --format onnx" in capsys.readouterr().err
    export(run, tmp_path / "onnx", "--format", "onnx", "--size", "0x64", code=2)
    assert "0x64 is no size: give WxH" in capsys.readouterr().err
    assert not (tmp_path / "onnx").exists()


@pytest.mark.usefixtures("_small")
def test_a_graph_of_one_size_takes_no_other(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    run = write_model("inpainter", tmp_path)
    folder = export(run, tmp_path / "one", "--format", "onnx", "--size", "45x30")
    assert {path.name for path in folder.iterdir()} == {*onnx.FILES}
    assert "height of 30" in json.loads((folder / "model.onnx.json").read_text())["size"]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert session.get_inputs()[0].shape[1:] == [3, 30, 45]
    own = restored(zoo.read(run).content)
    for batch in (1, 3):
        seen = observed(image(batch, 3, 30, 45), hole=(image(batch, 1, 30, 45) > 0.2).float())
        seen["input"] = seen["input"] * (1 - seen["hole"])
        given = {key: seen[key].numpy() for key in ("input", "hole")}
        with torch.no_grad():
            wanted = own.restore(seen)[:, 0].numpy()
        assert np.abs(session.run(None, given)[0] - wanted).max() < 1e-4
    made = onnx.method(own, folder / "model.onnx", {"experiment": "x"})
    with pytest.raises(InputError, match="for images of 45x30 px and the benchmark's have 48x30"):
        made.check(observed(image(1, 3, 30, 48), hole=(image(1, 1, 30, 48) > 0).float()))


def test_a_network_without_a_graph_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")

    def by_numbers(network: Any, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    run = write_model("blind", tmp_path)
    monkeypatch.setattr("restore.network.bias_free.BiasFreeUNet.forward", by_numbers)
    export(run, tmp_path / "onnx", "--format", "onnx", code=2)
    said = capsys.readouterr().err
    assert "the network of Denoiser has no graph for every size" in said
    assert "name one by --size WxH, or use --format bundle" in said
    export(run, tmp_path / "onnx", "--format", "onnx", "--size", "32x32", code=2)
    assert "no graph for this size" in capsys.readouterr().err and not (tmp_path / "onnx").exists()


def test_a_missing_extra_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    run = write_model("blind", tmp_path)
    export(run, tmp_path / "onnx", "--format", "onnx", code=2)
    assert "pip install 'restore[export]'" in capsys.readouterr().err


def test_formats_name_their_files() -> None:
    for module in FORMATS.values():
        assert module.FILES and callable(module.write) and callable(module.method)


@pytest.mark.parametrize(
    "way", [("sampler=repaint_fast",), ("guidance=null_space", "sampler=ddim")], ids=str
)
def test_a_folder_is_measured_as_any_checkpoint(
    command: Command, tmp_path: Path, way: tuple[str, ...]
) -> None:
    peer(**UNETS["scale_shift"]).save_pretrained(tmp_path / "peer")
    one = ("benchmark=digits_half", "benchmark.digits_half.data.limit=2", "sampler.num_steps=12")
    given = (f"checkpoint={tmp_path / 'peer'}", *one, *way, "hydra.run.dir=out")
    ended = command(*given, script="evaluate")
    assert ended.code == 0, ended.err
    assert "diffusion_pytorch_model.safetensors@" in (tmp_path / "out" / "results.csv").read_text()


@pytest.mark.slow
@pytest.mark.ci
def test_a_graph_that_is_no_graph_for_every_size_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A colorizer looks at large photos from afar: an example of 48 px leads past that."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    run = write_run({**COLORIZER, "size": 64}, tmp_path, Facts(3, 1, None, None))
    export(run, tmp_path / "onnx", "--format", "onnx", code=2)
    said = capsys.readouterr().err
    assert "the graph of Colorizer is another function at 120x80 px" in said
    assert "--size WxH" in said and not (tmp_path / "onnx").exists()
    export(run, tmp_path / "onnx", "--format", "onnx", "--size", "120x80")


class Halving(torch.nn.Module):
    def forward(self, given: Tensor, sigma: Tensor | None = None) -> Tensor:
        small = torch.nn.functional.avg_pool2d(given, 2)
        return given + torch.nn.functional.interpolate(small, scale_factor=2.0)


def test_a_network_of_even_sizes_alone_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph may do for the example that is traced; the sizes that it is checked by are odd."""
    own = restored(zoo.read(write_model("blind", tmp_path)).content)
    own.network = Halving()
    monkeypatch.setattr(onnx, "method", lambda *_: SimpleNamespace(restore=None))
    with pytest.raises(InputError, match="Halving does not take images of 18x33 px"):
        onnx._check(own, tmp_path, None)


@pytest.mark.parametrize(
    ("node", "size", "height", "width"),
    [
        (BLIND, 100, 33, 18),
        (BLIND, 100, 100, 150),
        ({**COLORIZER, "size": 140}, 64, 140, 210),  # it sees larger photos from afar
    ],
)
def test_a_graph_is_compared_with_its_task_at_small_sizes_and_at_larger_than_it_was_trained_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    node: dict[str, Any],
    size: int,
    height: int,
    width: int,
) -> None:
    """A graph that is darker by a grey level or two, at one size alone, is another function."""
    channels = 1 if "size" in node else 3
    own = restored(zoo.read(write_run(node, tmp_path, Facts(3, channels, size, None))).content)

    def run(given: Any, num_samples: int) -> Tensor:
        darker = 0.01 if given["input"].shape[2:] == (height, width) else 0.0
        made: Tensor = own.restore(given, num_samples) - darker
        return made

    monkeypatch.setattr(onnx, "method", lambda *_: SimpleNamespace(restore=run))
    with pytest.raises(InputError, match=f"another function at {width}x{height} px .by 0.01.: "):
        onnx._check(own, tmp_path, None)


def test_the_reason_is_the_network_s_own_where_it_has_one() -> None:
    try:
        try:
            raise InputError("sides must be even")
        except InputError as own:
            raise RuntimeError("an exporter's\nmany lines") from own
    except RuntimeError as error:
        assert onnx._reason(error) == "sides must be even"
        error.__cause__ = error.__context__ = None
        assert onnx._reason(error) == "RuntimeError: an exporter's"


def test_a_full_disk_is_no_fault_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    own = restored(zoo.read(write_model("blind", tmp_path)).content)

    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx, "_exported", full)
    with pytest.raises(OSError, match="No space left on device"):
        onnx.write(own, tmp_path)
