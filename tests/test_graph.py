"""Graph distillation: rows sum to 1, no loss where both agree, blind to the order of nodes, no gradient to the teacher; monitors tell a collapse."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from keendepth.losses.graph import GraphDistillation, GraphOptions, nodes, relation_loss  # noqa: E402

GRID = (4, 6)


def maps(channels: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, channels, *GRID, generator=torch.Generator().manual_seed(seed))


def made(**options: object) -> GraphDistillation:
    torch.manual_seed(0)
    return GraphDistillation(8, 8, GRID, GraphOptions(dimension=8, **options))


def test_no_relation_loss_where_student_is_teacher() -> None:
    module = made()  # the projection starts orthonormal
    loss, seen = module(maps(), maps())
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert seen["edge_correlation"] == pytest.approx(1, abs=1e-5)
    assert float(module(maps(), maps(seed=1))[0].detach()) > 0.1


def test_relation_loss_compares_distributions() -> None:
    S = torch.randn(2, 5, 5)
    assert float(relation_loss(S, S + 3.0)) == pytest.approx(0, abs=1e-6)  # softmax is blind to a constant
    assert float(relation_loss(S, -S)) > 0


@pytest.mark.parametrize("options", [{}, {"node": 1.0}, {"attention": 1.0}, {"feature": True}])
def test_the_order_of_nodes_does_not_matter(options: dict) -> None:
    module, student, teacher = made(**options), maps(seed=1), maps(seed=2)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    turned = [x.flatten(2)[..., order].reshape(x.shape) for x in (student, teacher)]
    assert float(module(*turned)[0].detach()) == pytest.approx(float(module(student, teacher)[0].detach()), abs=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"node": 1.0}, {"attention": 1.0}, {"bias": True}, {"feature": True}, {"shuffled": True}]
)
def test_gradients_reach_the_student_and_the_heads_but_never_the_teacher(options: dict) -> None:
    module = made(**options)
    student, teacher = maps(seed=1).requires_grad_(True), maps(seed=2).requires_grad_(True)
    module(student, teacher)[0].backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert float(student.grad.abs().sum()) > 0
    assert float(module.project.weight.grad.abs().sum()) > 0


def test_shuffled_listens_to_the_next_picture() -> None:
    student, teacher = maps(seed=1), maps(seed=2)
    shuffled = made(shuffled=True)(student, teacher)[0].detach()
    assert float(shuffled) == pytest.approx(float(made()(student, teacher.roll(1, 0))[0].detach()), abs=1e-6)


def test_a_learned_topology_starts_at_nothing_and_is_shared() -> None:
    module = made(bias=True)
    assert module.topology.shape == ((2 * 4 - 1) * (2 * 6 - 1),)
    before = float(module(maps(seed=1), maps(seed=2))[0].detach())
    assert before == pytest.approx(float(made()(maps(seed=1), maps(seed=2))[0].detach()), abs=1e-6)
    with torch.no_grad():
        module.topology.normal_()
    assert float(module(maps(), maps())[0].detach()) == pytest.approx(0, abs=1e-5)  # added to both graphs
    assert int(module.offset[0, 0]) == int(module.offset[5, 5])  # a node to itself is one offset


def test_teacher_maps_of_other_sizes_are_brought_to_the_grid() -> None:
    wide = torch.randn(2, 8, 8, 12)
    assert nodes(wide, GRID).shape == (2, 24, 8)
    torch.testing.assert_close(nodes(wide, GRID)[:, 0], wide[..., :2, :2].mean((2, 3)))
    assert nodes(maps()[..., :2, :3], GRID).shape == (2, 24, 8)


def test_monitors_tell_a_collapse() -> None:
    module = made()
    healthy = module(maps(seed=1), maps(seed=2))[1]
    with torch.no_grad():
        module.project.weight.zero_()
    collapsed = module(maps(seed=1), maps(seed=2))[1]
    assert collapsed["spread"] == pytest.approx(0, abs=1e-6)
    assert healthy["spread"] > 0.2
    assert collapsed["entropy_student"] == pytest.approx(1, abs=1e-4)
    assert 0 < healthy["entropy_teacher"] < 0.99


def test_a_few_steps_bring_the_edges_together() -> None:
    module, teacher = made(), maps(seed=2)
    student = maps(seed=1).requires_grad_(True)
    optimiser = torch.optim.Adam([student, *module.parameters()], lr=0.05)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss, seen = module(student, teacher)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert seen["edge_correlation"] > 0.5


def test_too_many_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 to 512 nodes, found 24 x 80"):
        GraphDistillation(8, 8, (24, 80))
