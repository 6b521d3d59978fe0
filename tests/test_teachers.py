"""Teachers: maps of pictures of any size without gradients, what is remembered, other people's backbones, and names that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from keendepth.nn import checkpoint  # noqa: E402
from keendepth.nn.segmenter import Segmenter, cells  # noqa: E402
from keendepth.nn.teachers import Frozen, Remembering, Teacher, as_map, load_teacher, resized  # noqa: E402
from keendepth.nn.tiny_vit import Attention, TinyVit, encoder_of  # noqa: E402


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as `train segmenter` leaves it."""
    torch.manual_seed(0)
    pytest.importorskip("safetensors")
    checkpoint.save(tmp_path / "student.safetensors", Segmenter(5, (8, 8, 16)).state_dict(), {"step": "12"})
    return tmp_path


def test_a_segmenters_run_is_a_teacher(run: Path) -> None:
    for name in (f"segmenter:{run}", str(run), f"segmenter:{run / 'student.safetensors'}"):
        teacher = load_teacher(name)
        assert isinstance(teacher, Teacher)
        assert teacher.channels == 16
        assert teacher.features(torch.rand(2, 3, 64, 128)).shape == (2, 16, 8, 16)
        assert teacher.features(torch.rand(1, 3, 60, 100)).shape == (1, 16, 8, 12)
    assert teacher.describe()["steps"] == "12"


def test_no_gradient_reaches_a_teacher(run: Path) -> None:
    teacher = load_teacher(str(run))
    rgb = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert not teacher.features(rgb).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


@pytest.mark.parametrize("name", ["", "dino:x", "segmenter:", "mobilesam:"])
def test_names_of_no_teacher(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected segmenter:\.\.\., mobilesam:\.\.\., hf:\.\.\."):
        load_teacher(name)


def test_weights_that_are_no_segmenters(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "other.pt", {"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="expected the weights of a segmenter"):
        load_teacher(str(tmp_path / "other.pt"))
    with pytest.raises(ValueError, match="expected MobileSAM's weights"):
        load_teacher(f"mobilesam:{tmp_path / 'other.pt'}")
    with pytest.raises(FileNotFoundError):
        load_teacher(str(tmp_path / "none.pt"))


def test_a_remembering_teacher_asks_once(run: Path) -> None:
    asked = []

    class Counting(Frozen):
        def features(self, rgb: torch.Tensor) -> torch.Tensor:
            asked.append(len(rgb))
            return super().features(rgb)

    plain = load_teacher(str(run))
    teacher = Remembering(Counting(plain.network, plain.read, {}, 8), kept=3)
    asked.clear()
    rgb = torch.rand(3, 3, 32, 32)
    first = teacher.features(rgb)
    again = teacher.features(rgb[[2, 0]])
    assert asked == [3]
    assert torch.equal(again, first[[2, 0]])
    torch.testing.assert_close(first, plain.features(rgb), atol=2e-3, rtol=2e-3)
    teacher.features(torch.rand(2, 3, 32, 32))
    teacher.features(rgb[1:2])  # was pushed out
    assert asked == [3, 2, 1]


def test_cells_take_the_most_frequent_label() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[:, :5, :8] = 3
    labels[:, 8:, 8:] = 2
    assert cells(labels, 8, 4).tolist() == [[[3, 0], [0, 2]]]


def test_tokens_become_a_map_without_those_of_no_place() -> None:
    tokens = torch.arange(1 + 6, dtype=torch.float32)[None, :, None]
    assert as_map(tokens, (2, 3))[0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match="at least 3 x 3 tokens"):
        as_map(tokens, (3, 3))


def test_pictures_are_brought_to_what_a_teacher_takes() -> None:
    rgb = torch.rand(1, 3, 50, 70)
    assert resized(rgb, 16).shape == (1, 3, 48, 64)
    assert resized(rgb, 16, 128).shape == (1, 3, 96, 128)
    assert resized(rgb[..., :48, :64], 16) is not None
    assert torch.equal(resized(rgb[..., :48, :64], 16), rgb[..., :48, :64])


def test_attention_stays_within_its_window() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, 4).eval()
    with torch.no_grad():
        attention.attention_biases.normal_()
        x = torch.rand(1, 8, 6, 9)
        before = attention(x)
        x[:, 0, 0, 0] += 5
        moved = (attention(x) - before).abs().sum(1)[0] > 1e-6
    assert before.shape == x.shape
    assert bool(moved[:4, :4].all())
    assert not bool(moved[4:].any() or moved[:, 4:].any())


def test_attention_biases_are_numbered_by_distance() -> None:
    index = Attention(8, 2, 3).index
    assert index[0].tolist() == list(range(9))  # from the corner: row by row
    assert int(index[4, 0]) == int(index[4, 8]) == 4  # one down and one across, either way


def test_a_small_tiny_vit_has_sams_shape_and_names() -> None:
    network = TinyVit((16, 16, 24, 32), (1, 1, 1, 1), (2, 2, 2, 2), (4, 4, 4, 4)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 96)).shape == (1, 256, 4, 6)
    names = set(network.state_dict())
    assert {"patch_embed.seq.0.c.weight", "layers.1.blocks.0.local_conv.bn.running_var", "neck.3.bias"} <= names
    assert {"layers.2.downsample.conv3.c.weight", "layers.3.blocks.0.attn.attention_biases"} <= names
    state = {f"image_encoder.{key}": value for key, value in network.state_dict().items()}
    kept = encoder_of({**state, "image_encoder.head.bias": torch.zeros(3), "mask_decoder.x": torch.zeros(1)})
    assert set(kept) == names


@pytest.mark.parametrize("kind", ["dinov2", "vit", "resnet"])
def test_backbones_of_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the hub extra")
    transformers.utils.logging.disable_progress_bar()
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config, network, stride = {
        "dinov2": (transformers.Dinov2Config(**small, image_size=56, patch_size=14), transformers.Dinov2Model, 14),
        "vit": (transformers.ViTConfig(**small, image_size=64, patch_size=16), transformers.ViTModel, 16),
        "resnet": (transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1]), transformers.ResNetModel, 32),
    }[kind]  # fmt: skip
    network(config).save_pretrained(tmp_path)
    teacher = load_teacher(f"hf:{tmp_path}")
    assert teacher.channels == 16
    assert teacher.describe()["type"] == kind
    found = teacher.features(torch.rand(2, 3, 96, 128))
    assert found.shape == (2, 16, round(96 / stride), round(128 / stride))
    assert load_teacher(f"hf:{tmp_path}@64").features(torch.rand(1, 3, 96, 128)).shape[3] == round(64 / stride)


def test_the_segmenter_learns_rendered_labels(tmp_path: Path) -> None:
    """On pictures whose colour says what they show, a few steps suffice."""
    from keendepth.training.recipe import StepContext
    from keendepth.training.segmenter import SegmenterRecipe, SegmenterTraining

    torch.manual_seed(0)
    recipe = SegmenterRecipe(SegmenterTraining((8, 16), perturbed=0.0))
    labels = (
        torch.from_numpy(np.random.default_rng(0).integers(0, 3, (4, 8, 8)))
        .repeat_interleave(4, 1)
        .repeat_interleave(4, 2)
    )
    rgb = torch.eye(3)[labels].movedim(3, 1)
    batch = {"rgb": rgb, "labels": labels}
    optimiser = torch.optim.Adam(recipe.student.parameters(), lr=1e-2)
    for step in range(30):
        chance = torch.Generator().manual_seed(step)
        optimiser.zero_grad()
        (loss,) = recipe.losses(
            batch, StepContext(step, 30, recipe.student, chance, torch.device("cpu"), tmp_path)
        ).values()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        figures = recipe.validate(batch)
    assert figures["wrong"] < 0.1
    assert figures["wrong_inside"] <= figures["wrong"]
