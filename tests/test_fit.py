"""The training loop: losses fall, a resumed run equals an unbroken one to the bit, and whatever goes wrong is said clearly."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from keendepth.nn import checkpoint
from keendepth.training import Batches, Recipe, config, runs
from keendepth.training.average import averaged_copy, decay_at, follow, in_place_of
from keendepth.training.config import FitOptions, build, learning_rate, plain, preset_names, read_preset, resolve
from keendepth.training.fit import DivergedError, fit
from keendepth.training.precision import raised
from keendepth.training.prefetch import Prefetcher
from keendepth.training.runs import Run, RunError
from toy_recipe import Exported, Method, Net, Noise, Toy, ToyOptions

SHORT = FitOptions(steps=12, batch_size=4, lr=1e-2, warmup=3, validate_every=5, save_every=4, log_every=3, threads=1)
HELD_OUT = [Noise(4, seed=99).batch(0), Noise(2, seed=99).batch(5)]


def run_toy(folder, options=SHORT, batches=None, recipe=Toy, validation=HELD_OUT, watch=None, **run):
    torch.manual_seed(options.seed)
    recipe = recipe() if isinstance(recipe, type) else recipe  # made after the seed is set
    return fit(
        recipe,
        batches or Noise(options.batch_size, options.seed),
        options,
        Run(folder, "toy", **run),
        validation,
        watch,
    )


def weights(folder):
    return checkpoint.load(folder / "student.safetensors")[0]


def log(folder):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in runs.read_log(folder)]


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[key], other[key]) for key in one)


def same_run(one, other):
    a, b = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, other))
    states = [same(a[name], b[name]) for name in ("student", "ema")]
    moments = [same(a["optimiser"]["state"][n], b["optimiser"]["state"][n]) for n in a["optimiser"]["state"]]
    return all(states) and all(moments) and log(one) == log(other) and same(weights(one), weights(other))


def test_losses_fall_and_the_folder_is_whole(tmp_path):
    outcome = run_toy(tmp_path / "a", replace(SHORT, steps=60, ema_decay=0.9), recipe=Exported)
    assert (outcome.step, outcome.finished) == (60, True)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "config.toml", "log.jsonl", "last.pt", "student.safetensors", "model.onnx", "report.md",
    }  # fmt: skip
    lines = log(tmp_path / "a")
    losses = [line for line in lines if "loss" in line]
    assert [line["step"] for line in losses] == list(range(3, 61, 3))
    assert losses[-1]["square"] < 0.3 * losses[0]["square"]
    assert losses[0]["loss"] == pytest.approx(losses[0]["square"] + losses[0]["absolute"])
    checks = [line for line in lines if "validation" in line]
    assert [line["step"] for line in checks] == list(range(0, 61, 5))
    assert checks[-1]["validation"]["error"] < 0.5 * checks[0]["validation"]["error"]
    assert checks[0]["validation"]["unknown"] is None
    assert outcome.best["figures"]["error"] == min(line["validation"]["error"] for line in checks)


def test_the_report_says_what_a_card_needs(tmp_path):
    run_toy(tmp_path / "a", recipe=Exported, facts={"photos": "4 of noise"})
    text = (tmp_path / "a/report.md").read_text()
    network = sum(p.numel() for p in Net().parameters())
    for part in (
        "# toy: 12 steps, finished", "| step | lr | square | absolute | loss | gradient_norm |", "| 12 | ", "Best at step",
        f"parameters: {network}", "photos: 4 of noise", "pictures seen: 48", "seconds per step", "threads",
        "sha256 of student.safetensors", "sha256 of model.onnx", "export, parity", "[fit]", "steps = 12",
    ):  # fmt: skip
        assert part in text, part


def test_the_weights_alone_say_where_they_come_from(tmp_path):
    run_toy(tmp_path / "a", settings={"channels": 6})
    metadata = checkpoint.load(tmp_path / "a/student.safetensors")[1]
    assert (metadata["recipe"], metadata["step"]) == ("toy", "12")
    assert "channels = 6" in metadata["config"]
    assert metadata["config"] == (tmp_path / "a/config.toml").read_text()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, prefetch):
    options = replace(SHORT, prefetch=prefetch, accumulation=2)
    whole = run_toy(tmp_path / "whole", options)
    with pytest.raises(OSError, match="disk gone at batch 21"):  # in step 10, two steps after the checkpoint
        run_toy(tmp_path / "broken", options, Noise(4, fail_at=21))
    assert torch.load(tmp_path / "broken/last.pt", weights_only=True)["step"] == 8
    recipe = Toy()
    nn.init.constant_(recipe.student.layers[0].weight, 7.0)  # what is not restored would show
    outcome = run_toy(tmp_path / "broken", options, recipe=recipe, resume=True)
    assert (outcome.step, outcome.best) == (12, whole.best)
    assert recipe.seen[0][0] == 8
    assert same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    run_toy(tmp_path / "whole")
    with pytest.raises(OSError, match="disk gone"):
        run_toy(tmp_path / "broken", batches=Noise(4, fail_at=3))
    assert log(tmp_path / "broken")
    run_toy(tmp_path / "broken", resume=True)
    assert same_run(tmp_path / "whole", tmp_path / "broken")


def test_the_seed_decides_everything(tmp_path):
    for name in ("a", "b"):
        run_toy(tmp_path / name)
        torch.rand(3)  # what others draw from the global generator does not matter
    run_toy(tmp_path / "c", replace(SHORT, seed=1))
    assert same_run(tmp_path / "a", tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_the_callers_generator_and_threads_are_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    fit(Toy(), Noise(), replace(SHORT, steps=2), Run(tmp_path / "a"))
    assert torch.get_num_threads() == threads
    torch.manual_seed(5)
    recipe = Toy()
    torch.manual_seed(5)
    fit(recipe, Noise(), replace(SHORT, steps=2), Run(tmp_path / "b"))
    assert torch.equal(torch.rand(3), expected)


def test_accumulation_equals_a_bigger_batch(tmp_path):
    class Plain(Toy):
        def __init__(self):
            super().__init__(dropout=0, noise=0)
            self.student.layers[1] = nn.Identity()  # batch statistics do differ

    run_toy(tmp_path / "big", replace(SHORT, batch_size=8), recipe=Plain)
    run_toy(tmp_path / "small", replace(SHORT, accumulation=2), recipe=Plain)
    big, small = weights(tmp_path / "big"), weights(tmp_path / "small")
    for name in big:
        torch.testing.assert_close(big[name], small[name], rtol=1e-4, atol=1e-5)
    assert log(tmp_path / "big")[-2]["loss"] == pytest.approx(log(tmp_path / "small")[-2]["loss"], rel=1e-4)


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    run_toy(tmp_path / "a")
    before = weights(tmp_path / "a")
    with pytest.raises(RunError, match="holds a run already: --resume"):
        run_toy(tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("x")
    with pytest.raises(RunError, match="holds other files"):
        run_toy(tmp_path / "mine")
    with pytest.raises(RunError, match="is a file"):
        run_toy(tmp_path / "mine/thesis.tex")
    assert run_toy(tmp_path / "a", resume=True).step == 12  # finished: nothing to do
    assert same(before, weights(tmp_path / "a"))


def test_resuming_with_another_configuration_names_the_keys(tmp_path):
    run_toy(tmp_path / "a", replace(SHORT, steps=4), settings={"channels": 6})
    changed = replace(SHORT, steps=4, lr=0.5, log_every=1, threads=2)
    with pytest.raises(RunError) as caught:
        run_toy(tmp_path / "a", changed, resume=True, settings={"channels": 8}, data=("x",))
    text = str(caught.value)
    for part in (
        "fit.lr (0.01 there, 0.5 now)",
        "toy.channels (6 there, 8 now)",
        'data ([] there, ["x"] now)',
        "--accept-changes",
    ):
        assert part in text
    assert "log_every" not in text
    assert "threads" not in text
    longer = replace(SHORT, steps=6)
    assert run_toy(tmp_path / "a", longer, resume=True, accept_changes=True, settings={"channels": 6}).step == 6
    assert runs.read_config(tmp_path / "a")["fit"]["steps"] == 6


def test_what_does_not_matter_may_change(tmp_path):
    run_toy(tmp_path / "whole")
    with pytest.raises(OSError, match="disk gone"):
        run_toy(tmp_path / "broken", replace(SHORT, prefetch=0), Noise(4, fail_at=6))
    run_toy(tmp_path / "broken", replace(SHORT, save_every=1), resume=True)
    assert same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_damaged_checkpoint_is_named(tmp_path):
    run_toy(tmp_path / "a", replace(SHORT, steps=2))
    (tmp_path / "a/last.pt").write_bytes(b"half a check")
    with pytest.raises(RunError, match=r"cannot be read.*delete it"):
        run_toy(tmp_path / "a", replace(SHORT, steps=2), resume=True)
    torch.save({"format": 99}, tmp_path / "a/last.pt")
    with pytest.raises(RunError, match="format 1"):
        run_toy(tmp_path / "a", replace(SHORT, steps=2), resume=True)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(DivergedError, match=r"step 6: the loss 'square' is nan; the loss 'absolute' is nan\. Batch 6"):
        run_toy(tmp_path / "a", batches=Noise(4, nan_at=6))
    found = torch.load(tmp_path / "a/diagnosis.pt", weights_only=True)
    assert found["step"] == found["number"] == 6
    assert math.isnan(found["losses"]["square"])
    assert found["batch"]["depth"].isnan().sum() == 1
    assert all(value.isfinite().all() for value in found["student"].values())  # the weights before the step
    assert torch.load(tmp_path / "a/last.pt", weights_only=True)["step"] == 4


def test_a_gradient_that_is_no_number_names_the_parameter(tmp_path):
    class Root(Toy):
        def losses(self, batch, context):
            bias = self.student.layers[4].bias
            return {**super().losses(batch, context), "root": (bias - bias.detach()).abs().sqrt().sum()}

    with pytest.raises(
        DivergedError, match=r"step 0: all losses are finite, but the gradient of layers\.4\.bias is not"
    ):
        run_toy(tmp_path / "a", recipe=Root)


def test_ema_follows_as_defined(tmp_path):
    student, ema = nn.Linear(2, 1), nn.Linear(2, 1)
    with torch.no_grad():
        for p, q in zip(student.parameters(), ema.parameters(), strict=True):
            p.fill_(1.0)
            q.fill_(0.0)
    follow(ema, student, 0.9)
    follow(ema, student, 0.9)
    torch.testing.assert_close(ema.weight, torch.full((1, 2), 0.19))
    assert [decay_at(0.999, step) for step in (0, 9)] == [0.1, 10 / 19]
    assert decay_at(0.999, 10**6) == 0.999
    assert decay_at(0.0, 5) == 0.0

    run_toy(tmp_path / "a", replace(SHORT, ema_decay=0.0))
    state = torch.load(tmp_path / "a/last.pt", weights_only=True)
    assert same(state["ema"], state["student"])
    run_toy(tmp_path / "b")
    state = torch.load(tmp_path / "b/last.pt", weights_only=True)
    assert not same(state["ema"], state["student"])
    assert same(state["ema"], weights(tmp_path / "b"))
    assert torch.equal(state["ema"]["layers.1.running_mean"], state["student"]["layers.1.running_mean"])


def test_the_average_of_a_whole_run_can_be_computed_by_hand(tmp_path):
    seen = []

    class Watched(Toy):
        def losses(self, batch, context):
            seen.append((self.student.layers[4].bias.clone(), context.ema.layers[4].bias.clone()))
            assert not context.ema.training
            return super().losses(batch, context)

    run_toy(tmp_path / "a", recipe=Watched)
    by_hand = seen[0][0]
    for step, (student, ema) in enumerate(seen):
        if step:
            by_hand = by_hand.lerp(student, 1 - decay_at(SHORT.ema_decay, step - 1))
        torch.testing.assert_close(ema, by_hand)


def test_the_average_takes_the_students_place_and_gives_it_back():
    student = Net()
    ema = averaged_copy(student)
    with torch.no_grad():
        ema.layers[0].weight.fill_(3.0)
    before = student.layers[0].weight.clone()
    student.layers[3].eval()
    with contextlib.suppress(KeyboardInterrupt), in_place_of(student, ema):
        assert (student.layers[0].weight == 3).all()
        assert not student.training
        raise KeyboardInterrupt
    assert torch.equal(student.layers[0].weight, before)
    assert student.training
    assert not student.layers[3].training


def test_the_best_weights_can_be_kept(tmp_path):
    class Worse(Toy):
        count = 0

        def validate(self, batch):
            self.count += 1
            return {"error": float(abs(self.count - 4))}  # two batches a validation: least at the second

    options = replace(SHORT, keep="best", validate_every=4)
    outcome = run_toy(tmp_path / "a", options, recipe=Worse)
    assert outcome.best["step"] == 4
    assert checkpoint.load(tmp_path / "a/student.safetensors")[1]["step"] == "4"
    assert run_toy(tmp_path / "a", options, recipe=Worse, resume=True).best == outcome.best
    run_toy(tmp_path / "c", replace(options, steps=4, schedule="constant"), validation=None)
    assert checkpoint.load(tmp_path / "c/student.safetensors")[1]["step"] == "4"  # nothing to judge by: the last


def test_mixed_precision_runs_and_learns(tmp_path):
    class Watched(Toy):
        def __init__(self):
            super().__init__()
            self.inside = set()
            self.student.layers[4].register_forward_hook(lambda module, given, out: self.inside.add(out.dtype))

    recipe = Watched()
    run_toy(tmp_path / "a", replace(SHORT, steps=40, amp="bf16"), recipe=recipe)
    assert torch.bfloat16 in recipe.inside
    losses = [line["square"] for line in log(tmp_path / "a") if "square" in line]
    assert losses[-1] < 0.5 * losses[0]
    assert "forward" not in vars(recipe.student)
    assert all(p.dtype is torch.float32 for p in recipe.student.parameters())


def test_fp16_needs_a_gpu(tmp_path):
    with pytest.raises(ValueError, match="bf16 works on a CPU"):
        run_toy(tmp_path / "a", replace(SHORT, amp="fp16", device="cpu"))


def test_outputs_of_any_shape_become_float32():
    class Pair(NamedTuple):
        depth: torch.Tensor
        omega: list

    @dataclass(frozen=True)
    class Output:
        depth: torch.Tensor
        omega: tuple
        names: str = "x"

    low = torch.ones(2, dtype=torch.bfloat16)
    for out in (Pair(low, [low]), Output(low, (low, low)), {"depth": low, "omega": [low]}):
        up = raised(out)
        assert type(up) is type(out)
        depth, omega = (up["depth"], up["omega"]) if isinstance(up, dict) else (up.depth, up.omega)
        assert depth.dtype is omega[0].dtype is torch.float32
    assert raised(torch.ones(2, dtype=torch.int64)).dtype is torch.int64
    assert raised("x") == "x"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on_later(tmp_path, number):
    notes = []

    class Stopped(Toy):
        def losses(self, batch, context):
            if context.step == 6:
                os.kill(os.getpid(), number)
            return super().losses(batch, context)

    run_toy(tmp_path / "whole")
    before = signal.getsignal(number)
    outcome = run_toy(tmp_path / "a", recipe=Stopped, watch=lambda moment: notes.append(moment.note))
    assert (outcome.step, outcome.finished) == (7, False)
    assert any("saving after this step" in note for note in notes)
    assert "stopped at step 7 of 12" in (tmp_path / "a/report.md").read_text()
    assert signal.getsignal(number) is before
    assert run_toy(tmp_path / "a", resume=True).finished
    assert same_run(tmp_path / "whole", tmp_path / "a")


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    class Stopped(Toy):
        def losses(self, batch, context):
            if context.step == 6:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            return super().losses(batch, context)

    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path / "a", recipe=Stopped)
    assert torch.load(tmp_path / "a/last.pt", weights_only=True)["step"] == 4


def test_it_runs_in_another_thread(tmp_path):
    thread = threading.Thread(target=run_toy, args=(tmp_path / "a",))
    thread.start()
    thread.join()
    assert weights(tmp_path / "a")


def test_the_hooks_of_a_recipe(tmp_path):
    class Labelled(Toy):
        """Its target is scaled by a label that is renewed every four steps, with the average's help, and remembered."""

        def __init__(self):
            super().__init__()
            self.label, self.calls = torch.ones(()), []

        def start(self, context):
            self.calls.append(("start", context.step))

        def between(self, context):
            if context.step % 4 == 0:
                self.calls.append(("renew", context.step))
                self.label = context.ema.layers[4].bias.abs().sum() + torch.rand((), generator=context.rng)
                return True
            return None

        def losses(self, batch, context):
            return super().losses({**batch, "depth": batch["depth"] * self.label}, context)

        def state_dict(self):
            return {"label": self.label, "round": 3, "names": ["a"]}

        def load_state_dict(self, state):
            assert state["round"] == 3
            self.label = state["label"]

    options = replace(SHORT, save_every=3)
    torch.manual_seed(0)
    whole = Labelled()
    run_toy(tmp_path / "whole", options, recipe=whole)
    assert whole.calls == [("start", 0), ("renew", 0), ("renew", 4), ("renew", 8)]
    with pytest.raises(OSError, match="disk gone"):
        run_toy(tmp_path / "broken", options, Noise(4, fail_at=7), Labelled)  # saved at 6, label renewed at 4
    again = Labelled()
    run_toy(tmp_path / "broken", options, recipe=again, resume=True)
    assert again.calls == [("start", 6), ("renew", 8)]
    assert same_run(tmp_path / "whole", tmp_path / "broken")


def test_chance_differs_from_batch_to_batch_and_hook_to_hook(tmp_path):
    drawn = []

    class Drawing(Toy):
        def between(self, context):
            drawn.append(float(torch.rand((), generator=context.rng)))

        def losses(self, batch, context):
            drawn.extend((float(torch.rand((), generator=context.rng)), float(torch.rand(()))))
            return super().losses(batch, context)

    run_toy(tmp_path / "a", replace(SHORT, accumulation=2), recipe=Drawing)
    assert len(drawn) == len(set(drawn)) == 12 * 5


def test_what_was_prefetched_is_dropped_when_data_change(tmp_path):
    class Changing(Noise):
        level = 0.0

        def batch(self, number):
            return {**super().batch(number), "level": torch.full((self.size,), self.level)}

    data, seen = Changing(), []

    class Renewing(Toy):
        def between(self, context):
            if context.step != 6:
                return False
            data.level = 1.0
            return True

        def losses(self, batch, context):
            seen.append(float(batch["level"][0]))
            return super().losses(batch, context)

    run_toy(tmp_path / "a", batches=data, recipe=Renewing)
    assert seen == [0.0] * 6 + [1.0] * 6


def test_prefetching_keeps_order_drops_and_ends():
    source = Noise(1)
    prefetcher = Prefetcher(source, stride=2, depth=3)
    for number in (1, 3, 5):
        assert torch.equal(prefetcher.take(number, last=9)["rgb"], Noise(1).batch(number)["rgb"])
    prefetcher.take(7, last=9)
    prefetcher.take(9, last=9)
    assert source.asked == [1, 3, 5, 7, 9]  # each once, none after the last
    prefetcher.drop()
    prefetcher.take(3, last=3)
    assert source.asked[-1] == 3
    prefetcher.close()
    failing = Prefetcher(Noise(1, fail_at=1), 1, 2)
    failing.take(0, 5)
    with pytest.raises(OSError, match="batch 1"):
        failing.take(1, 5)
    failing.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_batches_are_prepared_in_advance():
    class Slow(Noise):
        def batch(self, number):
            time.sleep(0.02)
            return super().batch(number)

    source = Slow(1)
    prefetcher = Prefetcher(source, 1, 2)
    prefetcher.take(0, 9)
    time.sleep(0.2)
    assert source.asked == [0, 1, 2]  # and not more: the queue is bounded
    prefetcher.close()


def test_a_recipe_without_loss_or_without_parameters_is_told(tmp_path):
    class Empty(Toy):
        def losses(self, batch, context):
            return {}

    class Clashing(Toy):
        def losses(self, batch, context):
            return {"loss": super().losses(batch, context)["square"]}

    for name, wrong in (("a", Empty), ("c", Clashing)):
        with pytest.raises(ValueError, match="expected a dict of losses with other names"):
            run_toy(tmp_path / name, recipe=wrong)
    frozen = Toy()
    frozen.student.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter to learn"):
        run_toy(tmp_path / "b", recipe=frozen)


def test_frozen_parameters_stay(tmp_path):
    recipe = Toy()
    recipe.student.layers[0].requires_grad_(False)
    before = recipe.student.layers[0].weight.clone()
    run_toy(tmp_path / "a", recipe=recipe)
    assert torch.equal(recipe.student.layers[0].weight, before)


def test_the_protocols_hold():
    assert isinstance(Toy(), Recipe)
    assert isinstance(Noise(), Batches)


# ---- options


def test_the_learning_rate_rises_and_falls():
    options = FitOptions(steps=100, lr=1.0, warmup=10, lr_end=0.1)
    rates = [learning_rate(options, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    constant = replace(options, schedule="constant", warmup=0)
    assert {learning_rate(constant, step) for step in range(100)} == {1.0}


def test_defaults_presets_and_sets_in_turn(tmp_path):
    (tmp_path / "one.toml").write_text(
        'recipe = "toy"\n[fit]\nsteps = 7\nlr = 1\n[toy]\nchannels = 3\nsizes = [8, 9, 10]\n'
    )
    (tmp_path / "two.toml").write_text("[fit]\nlr = 0.5\n")
    found = resolve(
        {"fit": FitOptions, "toy": ToyOptions},
        [str(tmp_path / "one.toml"), str(tmp_path / "two.toml")],
        ["fit.steps=9", "noise=0", "schedule=constant", "betas=[0.5, 0.6]", "cache=labels/a", "channels_last=false"],
    )
    assert found["fit"] == FitOptions(9, lr=0.5, schedule="constant", betas=(0.5, 0.6), channels_last=False)
    assert found["toy"] == ToyOptions(3, noise=0.0, sizes=(8, 9, 10), cache=Path("labels/a"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lrr=1", "no key 'lrr'; did you mean lr"),
        ("fit.step=1", r"\[fit\] has no key 'step'; did you mean steps"),
        ("toi.noise=1", "no section 'toi'; did you mean toy"),
        ("lr", "key=value"),
        ("steps=1.5", "fit.steps must be int, found 1.5"),
        ("steps=true", "fit.steps must be int, found True"),
        ("lr=fast", "fit.lr must be float, found 'fast'"),
        ("schedule=linear", "one of cosine, constant, found 'linear'"),
        ("betas=[0.9]", "fit.betas must be"),
        ("cache=3", "toy.cache must be"),
        ("steps=0", "fit.steps must be 1 or more, found 0"),
        ("ema_decay=2", "fit.ema_decay must be between 0 and 1, found 2"),
        ("betas=[0.9, 1.0]", r"fit.betas must lie in \[0, 1\)"),
        ("lr=nan", "fit.lr must be 0 or more, found nan"),
    ],
)
def test_a_wrong_option_says_what_was_wrong(text, expected):
    with pytest.raises(ValueError, match=expected):
        resolve({"fit": FitOptions, "toy": ToyOptions}, (), [text])


def test_an_ambiguous_key_wants_its_section():
    @dataclass(frozen=True)
    class Other:
        lr: float = 1.0

    with pytest.raises(ValueError, match=r"write fit\.lr or other\.lr"):
        resolve({"fit": FitOptions, "other": Other}, (), ["lr=2"])
    assert resolve({"fit": FitOptions, "other": Other}, (), ["other.lr=2"])["other"].lr == 2


def test_a_wrong_preset_is_named(tmp_path):
    sections = {"fit": FitOptions, "toy": ToyOptions}
    for text, expected in (
        ("[fitt]\nlr = 1", r"no section \[fitt\]; did you mean fit"),
        ("lr = 1", r"no section \[lr\]"),
        ("[toy]\nchanels = 1", "did you mean channels"),
        ('recipe = "sharp"', "is for the recipe 'sharp', not for toy"),
        ("x = ", "no TOML file"),
    ):
        (tmp_path / "p.toml").write_text(text)
        with pytest.raises(ValueError, match=expected):
            resolve(sections, [str(tmp_path / "p.toml")])
    with pytest.raises(ValueError, match="no preset 'gigantic'; shipped: "):
        resolve(sections, ["gigantic"])


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_loads(name):
    preset = read_preset(name)
    assert build(FitOptions, preset.get("fit", {}), "fit")


def test_options_survive_their_file(tmp_path):
    options = ToyOptions(cache=Path('a "b"\\c\n\x7f'), sizes=(1,), noise=1e-7)
    text = config.to_toml({"recipe": "toy", "data": ["ä", "b"], "toy": plain(options), "fit": plain(FitOptions())})
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    back = config.read_toml(tmp_path / "c.toml")
    assert build(ToyOptions, back["toy"], "toy") == options
    assert build(FitOptions, back["fit"], "fit") == FitOptions()
    assert back["data"] == ["ä", "b"]


def test_every_field_of_the_options_is_explained():
    source = Path(config.__file__).read_text(encoding="utf-8")
    for field in fields(FitOptions):
        after = source.split(f"\n    {field.name}: ", 1)[1].splitlines()[1].strip()
        assert after.startswith('"""'), field.name


def test_a_torn_line_of_the_log_is_left_out(tmp_path):
    runs.append(tmp_path, {"step": 1, "loss": float("nan")})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert runs.read_log(tmp_path) == [{"step": 1, "loss": None}]
    runs.cut_log(tmp_path, 1)
    assert (tmp_path / "log.jsonl").read_text() == json.dumps({"step": 1, "loss": None}) + "\n"


# ---- several processes

TWO = """
import sys, torch
sys.path[:0] = {paths!r}
from pathlib import Path
from toy_recipe import Noise, Toy
from keendepth.training.config import FitOptions
from keendepth.training.fit import fit
from keendepth.training.runs import Run
from torch import nn

torch.manual_seed(0)
recipe = Toy(dropout=0, noise=0)
recipe.student.layers[1] = nn.Identity()
options = FitOptions(steps=8, batch_size=int(sys.argv[2]), lr=1e-2, warmup=2, validate_every=4, save_every=4, log_every=2, threads=1, device="cpu")
held_out = [Noise(2, seed=99).batch(n) for n in range(3)]
print(fit(recipe, Noise(options.batch_size), options, Run(Path(sys.argv[1]), "toy"), held_out))
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_a_batch_of_twice_the_size(tmp_path):
    script = tmp_path / "two.py"
    here = Path(__file__).parent
    script.write_text(textwrap.dedent(TWO.format(paths=[str(here), str(here.parent / "src")])))
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    for arguments in ([str(script), str(tmp_path / "one"), "8"], [*launch, str(script), str(tmp_path / "two"), "4"]):
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert runs.read_config(tmp_path / "two")["processes"] == 2
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        found, expected = (line.get("validation", line) for line in (b, a))
        assert found.keys() == expected.keys()
        known = {key: value for key, value in expected.items() if value is not None}
        assert {key: found[key] for key in known} == pytest.approx(known, rel=1e-3)
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-3, atol=1e-4)


def test_a_method_plans_from_options(tmp_path):
    plan = Method().plan(ToyOptions(channels=4), SHORT, [])
    assert len(plan.validation) == 2
    assert plan.recipe.student.layers[0].out_channels == 4
