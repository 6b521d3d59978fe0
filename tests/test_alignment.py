"""Direct alignment of two frames, on a film made by hand whose depth and motion are exact."""

import pytest

torch = pytest.importorskip("torch")

from keendepth.nn import warp  # noqa: E402
from keendepth.training.alignment import aligned  # noqa: E402
from keendepth.training.frames import collate  # noqa: E402
from test_film import triplet  # noqa: E402

OFF = warp.rigid(torch.tensor([[0.006, -0.008, 0.004]]), torch.tensor([[0.05, -0.03, 0.08]]))


def film() -> tuple[torch.Tensor, ...]:
    """(middle frame, next frame, depth of the middle one, motion between them, K)."""
    data = collate([triplet(0.3)])
    return data["frames"][:, 1], data["frames"][:, 2], 1 / data["near"], data["motion"][:, 1], data["K"]


def apart(motion: torch.Tensor, exact: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(radians, metres) between motions."""
    turn = motion[:, :3, :3].transpose(1, 2) @ exact[:, :3, :3]
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return cosine.clamp(-1, 1).arccos(), (motion[:, :3, 3] - exact[:, :3, 3]).norm(dim=1)


def test_a_wrong_motion_becomes_the_exact_one() -> None:
    target, source, depth, exact, K = film()
    start = OFF @ exact
    (turned, moved), (left, remains) = apart(start, exact), apart(aligned(target, source, depth, start, K), exact)
    assert float(left) < 0.1 * float(turned)
    assert float(remains) < 0.1 * float(moved)


def test_depth_of_another_unit_gives_the_motion_in_that_unit() -> None:
    target, source, depth, exact, K = film()
    longer = exact.clone()
    longer[:, :3, 3] *= 2.5
    assert float(apart(aligned(target, source, 2.5 * depth, OFF @ longer, K), longer)[1]) < 0.02


def test_each_pair_is_aligned_by_itself() -> None:
    target, source, depth, exact, K = film()
    starts = torch.cat([OFF @ exact, exact])
    twice = [x.repeat(2, *[1] * (x.dim() - 1)) for x in (target, source, depth)]
    together = aligned(*twice, starts, K.repeat(2, 1, 1))
    for number in range(2):
        alone = aligned(target, source, depth, starts[number : number + 1], K)
        torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_aligned_stays() -> None:
    target, source, depth, exact, K = film()
    flat = torch.full_like(target, 0.5)
    assert torch.equal(aligned(flat, flat, depth, exact, K), exact)
    assert torch.equal(aligned(target, source, torch.full_like(depth, torch.nan), exact, K), exact)
    behind = exact.clone()
    behind[:, 2, 3] -= 1000
    assert torch.isfinite(aligned(target, source, depth, behind, K)).all()
