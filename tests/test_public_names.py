"""What is public, by name: a change here is a change for users."""

import pytest

import keendepth


def test_public_names() -> None:
    expected = ["Camera", "DepthKind", "DepthMap", "Image", "load", "read", "read_image", "refine", "write"]
    assert sorted(keendepth.__all__) == expected
    assert dir(keendepth) == sorted(keendepth.__all__)
    for name in keendepth.__all__:
        assert getattr(keendepth, name).__doc__, f"{name} has no docstring"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match="refine, write"):
        keendepth.refiner  # noqa: B018


def test_version_is_the_installed_one() -> None:
    from importlib import metadata

    assert metadata.version("keendepth") == keendepth.__version__
