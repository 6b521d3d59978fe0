"""The store of predictions: what is put comes back, what is whole is kept, what is cut off is made again, and settings never mix."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keendepth
from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.data.files import Files
from keendepth.data.sample import Facts, Sample
from keendepth.data.store import PATIENCE, Recipe, Store, StoreError, export, file_name
from keendepth.io import FileError

RECIPE = Recipe("toys", "toy", settings={"strength": 1.0})


def depth_map(value=2.0, kind=DepthKind.METRIC):
    values = np.full((5, 7), value, np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    card = Card("toy", "a toy", "Apache-2.0", sha256="ab")
    return DepthMap(values, kind, Camera.from_focal(9, 7, 5), card)


def toys(count=3, broken=()):
    def read(id, number):
        if number in broken:
            raise FileError(id, "cannot be read")
        return Sample(Image(np.full((5, 7, 3), number, np.uint8), name=id), None, id)

    return Files("toys", {f"scene/{n}": n for n in range(count)}, read, Facts("none", "all"))


def predict(image):
    return depth_map(1 + float(image.rgb[0, 0, 0]))


def test_a_map_comes_back_whole(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    put = depth_map(kind=DepthKind.DISPARITY)
    store.put("scene/1", put)
    got = store.get("scene/1")
    assert np.array_equal(got.values, put.values, equal_nan=True)
    assert (got.kind, got.camera, got.source) == (put.kind, put.camera, put.source)
    assert np.array_equal(
        keendepth.read(store.path("scene/1")).values, put.values, equal_nan=True
    )  # a file like any other
    assert "scene/1" in store
    assert "scene/2" not in store
    assert store.ids == ["scene/1"]


def test_several_maps_and_arrays_of_one_id(tmp_path):
    recipe = Recipe("toys", "toy", ("low", "high"), {"low": (5, 7), "high": (10, 14)})
    store = Store.create(tmp_path / "s", recipe)
    confidence = np.arange(35, dtype=np.float16).reshape(5, 7)
    store.put("a", {"low": depth_map(1), "high": depth_map(2)}, {"confidence": confidence})
    assert store.get("a").values[2, 2] == store.get("a", "low").values[2, 2] == 1
    assert store.get("a", "high").values[2, 2] == 2
    assert (store.arrays("a")["confidence"] == confidence).all()
    store.put("b", {"low": depth_map(1), "high": depth_map(2)})
    assert store.arrays("b") == {}
    for wrong in (depth_map(), {"low": depth_map()}, {}):
        with pytest.raises(ValueError, match="low, high"):
            store.put("c", wrong)
    with pytest.raises(ValueError, match="low, high"):
        store.get("a", "middle")
    store.path("a", "high").unlink()
    assert store.missing(["a", "b"]) == ["a"]  # one map of two is not enough


def test_the_manifest_says_what_was_done(tmp_path):
    card = Card("toy", "a toy", "Apache-2.0", sha256="ab")
    Store.create(tmp_path / "s", Recipe("toys", "toy", card=card, facts=toys().protocol_facts()))
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    assert manifest["model"] == "toy"
    assert manifest["card"]["sha256"] == "ab"
    assert manifest["facts"]["images"] == 3
    assert manifest["versions"]["numpy"] == np.__version__
    assert len(manifest["hash"]) == 16


def test_an_export_goes_on_where_it_was_interrupted(tmp_path):
    seen = []

    def interrupted(image):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(image.name)
        return predict(image)

    dataset = toys(4)
    with pytest.raises(KeyboardInterrupt):
        export(dataset, interrupted, Store.create(tmp_path / "s", RECIPE))
    store = Store.create(tmp_path / "s", RECIPE)  # the same recipe: the same store
    assert store.missing(dataset.ids) == ["scene/2", "scene/3"]
    steps = []
    report = export(dataset, predict, store, lambda done, of, id: steps.append((done, of, id)))
    assert (report.made, report.kept, report.failed) == (2, 2, {})
    assert steps == [(1, 2, "scene/2"), (2, 2, "scene/3")]
    assert [store.get(id).values[2, 2] for id in dataset.ids] == [1, 2, 3, 4]
    again = export(dataset, interrupted, store)
    assert (again.made, again.kept) == (0, 4)
    assert len(seen) == 2


def test_an_archive_without_depth_is_not_whole(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    store.put("a", depth_map())
    np.savez(store.path("a"), other=np.zeros(3))
    assert store.missing(["a"]) == ["a"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_found_and_made_again(tmp_path, keep):
    store = Store.create(tmp_path / "s", RECIPE)
    dataset = toys(3)
    export(dataset, predict, store)
    path = store.path("scene/1")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert store.ids == ["scene/0", "scene/2"]
    with pytest.raises(FileError):
        store.get("scene/1")
    assert export(dataset, predict, store).made == 1
    assert path.read_bytes() == content  # and to the byte the same


def test_a_flipped_bit_is_found_by_a_thorough_look_and_never_read(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    store.put("a", depth_map())
    path = store.path("a")
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(2).tobytes()) + 2] ^= 0x40
    path.write_bytes(content)
    assert store.missing(["a"]) == []
    assert store.missing(["a"], thorough=True) == ["a"]
    with pytest.raises(FileError, match="damaged"):
        store.get("a")


def test_a_torn_index_line_is_left_out(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    export(toys(2), predict, store)
    with (store.folder / "ids.jsonl").open("a") as index:
        index.write('"scene/')
    assert store.ids == ["scene/0", "scene/1"]
    assert Store.open(store.folder).ids == ["scene/0", "scene/1"]


def test_an_id_begun_on_a_torn_line_is_not_lost(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    (store.folder / "ids.jsonl").write_text('"scene/')
    store.put("scene/0", depth_map())
    store.put("scene/1", depth_map())
    assert set(store.ids) == {"scene/0", "scene/1"}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Recipe("toys", "toy", settings={"strength": 0.5}), "settings"),
        (Recipe("toys", "other", settings={"strength": 1.0}), "model"),
        (Recipe("dolls", "toy", settings={"strength": 1.0}), "dataset"),
        (Recipe("toys", "toy", ("low",), settings={"strength": 1.0}), "maps"),
        (Recipe("toys", "toy", sizes={"depth": (4, 4)}, settings={"strength": 1.0}), "sizes"),
        (Recipe("toys", "toy", settings={"strength": 1.0}, card=Card("toy", "", "", sha256="cd")), "card"),
    ],
)
def test_other_settings_are_refused_and_named(tmp_path, other, named):
    Store.create(tmp_path / "s", RECIPE)
    with pytest.raises(StoreError, match=f"other settings.*{named}.*another folder"):
        Store.create(tmp_path / "s", other)


def test_facts_of_the_data_set_may_grow(tmp_path):
    Store.create(tmp_path / "s", RECIPE)
    Store.create(tmp_path / "s", Recipe("toys", "toy", settings={"strength": 1.0}, facts={"images": 9}))


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"manifest\.json"):
        Store.open(tmp_path / "absent")
    (tmp_path / "photo.jpg").write_text("x")
    with pytest.raises(StoreError, match="other files"):
        Store.create(tmp_path, RECIPE)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 1"):
        Store.open(tmp_path)
    with pytest.raises(ValueError, match="a/b"):
        Store.create(tmp_path / "s", Recipe("toys", "toy", ("a/b",)))


def test_a_bad_sample_is_reported_and_the_rest_goes_on(tmp_path):
    dataset = toys(5, broken=(1, 3))
    report = export(dataset, predict, Store.create(tmp_path / "s", RECIPE))
    assert report.made == 3
    assert list(report.failed) == ["scene/1", "scene/3"]
    assert "cannot be read" in report.failed["scene/1"]
    assert export(toys(5), predict, Store.open(tmp_path / "s")).made == 2


def test_a_model_that_always_fails_stops_the_export(tmp_path):
    calls = []

    def fails(image):
        calls.append(image.name)
        raise RuntimeError("no such provider")

    with pytest.raises(RuntimeError, match="no such provider"):
        export(toys(PATIENCE * 3), fails, Store.create(tmp_path / "s", RECIPE))
    assert len(calls) == PATIENCE


AWKWARD = ["a", "A", "a/b", "a-b", "../../etc/passwd", "con", "", ".", "ü/ö", "x" * 300, "a\\b", "a:b", "a b", "a\0b"]


def test_awkward_ids_get_files_of_their_own(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    for number, id in enumerate(AWKWARD):
        store.put(id, depth_map(number + 1))
    assert [store.get(id).values[2, 2] for id in AWKWARD] == list(range(1, len(AWKWARD) + 1))
    assert store.ids == AWKWARD
    assert {path.parent for path in store.folder.rglob("*.npz")} == {store.folder / "depth"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_case_alone_makes_two_files():
    assert file_name("a").casefold() != file_name("A").casefold()
    assert file_name("con") != "con"


@given(st.lists(st.text(), unique=True, min_size=2, max_size=20))
def test_different_ids_have_different_names_even_where_case_does_not_count(ids):
    names = [file_name(id) for id in ids]
    assert len({name.casefold() for name in names}) == len(ids)
    assert all(0 < len(name) < 100 and name.isascii() and not name.startswith(".") for name in names)
    assert not any(set(name) & set('/\\:*?"<>|\0 ') for name in names)


def test_no_temporary_files_stay_behind(tmp_path):
    store = Store.create(tmp_path / "s", RECIPE)
    export(toys(3, broken=(1,)), predict, store)
    assert sorted(path.name for path in store.folder.iterdir()) == ["depth", "ids.jsonl", "manifest.json"]
    assert len(list((store.folder / "depth").iterdir())) == 2
