"""Registries: what is registered is found, what is not is answered with the nearest names, and users' files join in."""

from pathlib import Path

import pytest

from keendepth.core import registry
from keendepth.core.registry import Registry, UnknownNameError, load_file, load_plugins
from keendepth.core.types import Card, DepthKind


def filled() -> Registry:
    shelf: Registry = Registry("refiner")
    for name in ("median", "bilateral", "poisson"):
        shelf.register(name, summary="s", license="MIT")(lambda strength=1.0, name=name: (name, strength))
    return shelf


def test_what_is_registered_is_built_with_its_options() -> None:
    shelf = filled()
    assert shelf.build("median") == ("median", 1.0)
    assert shelf.build("median", strength=0.5) == ("median", 0.5)
    assert list(shelf) == ["median", "bilateral", "poisson"]
    assert "median" in shelf
    assert "mode" not in shelf
    assert 3 not in shelf


def test_the_decorator_gives_the_factory_back_and_keeps_the_card() -> None:
    shelf: Registry = Registry("predictor")

    @shelf.register("toy", summary="flat", license="MIT", kind=DepthKind.METRIC)
    class Toy:
        pass

    assert isinstance(shelf.build("toy"), Toy)
    assert shelf.card("toy") == Card("toy", "flat", "MIT", kind=DepthKind.METRIC)


def test_a_name_is_taken_once() -> None:
    shelf = filled()
    with pytest.raises(ValueError, match="refiner 'median' is registered already"):
        shelf.register("median", summary="s", license="MIT")(dict)
    assert shelf.build("median") == ("median", 1.0)


@pytest.mark.parametrize("name", ["", "a+b", "a:b", "a@b", "a/b", "a\\b", "a b", "a\tb", "a\n", "a,b", "a*b", "'a'"])
def test_names_that_a_command_line_could_not_say(name: str) -> None:
    with pytest.raises(ValueError, match="a name has letters, digits, '-', '_' and"):
        filled().register(name, summary="s", license="MIT")


@pytest.mark.parametrize("name", ["a", "indoor-small", "v2.1_b", "3d"])
def test_names_that_may_be(name: str) -> None:
    shelf = filled()
    shelf.register_card(Card(name, "s", "MIT"))(lambda: 1)
    assert shelf.build(name) == 1


def test_a_near_miss_is_answered_with_the_name_meant() -> None:
    shelf = filled()
    for ask in (shelf.build, shelf.card):
        with pytest.raises(UnknownNameError) as caught:
            ask("medain")
        text = str(caught.value)
        assert text.startswith("no refiner is called 'medain'; did you mean median")
        assert "keendepth models" in text
    with pytest.raises(KeyError, match="known: median, bilateral, poisson"):
        shelf.build("zzz")


def test_a_card_must_say_what_a_card_says() -> None:
    with pytest.raises(TypeError, match="license"):
        filled().register("x", summary="s")
    with pytest.raises(TypeError, match="licence"):
        filled().register("x", summary="s", license="MIT", licence="MIT")


def test_a_users_file_joins_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = filled()
    monkeypatch.setattr(registry, "shelf_of_the_test", shelf, raising=False)
    file = tmp_path / "my model.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from keendepth.core.registry import shelf_of_the_test as shelf\n"
        "@shelf.register('mine', summary='mine', license='MIT')\n"
        "@dataclass\n"
        "class Mine:\n"
        "    strength: 'float' = 2.0\n"
    )
    load_file(file)
    assert shelf.build("mine").strength == 2
    load_file(str(file))  # as a notebook does: the same definition again is no clash
    assert list(shelf).count("mine") == 1


def test_a_users_error_is_the_users_to_see(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise RuntimeError('mine')")
    with pytest.raises(RuntimeError, match="mine"):
        load_file(tmp_path / "bad.py")


def test_a_wrong_path_says_what_was_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wants a Python file, found 'none.py' \(no such file\)"):
        load_file(tmp_path / "none.py")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"wants a Python file, found 'a.txt'$"):
        load_file(tmp_path / "a.txt")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ValueError, match=r"found 'folder.py'$"):
        load_file(tmp_path / "folder.py")


def test_installed_plugins_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Entry:
        def load(self) -> None:
            loaded.append(self)

    def entry_points(group: str) -> list[Entry]:
        assert group == "keendepth.plugins"
        return [Entry(), Entry()]

    monkeypatch.setattr(registry.metadata, "entry_points", entry_points)
    load_plugins()
    assert len(loaded) == 2
