"""torch's old places, as VGG files in the wild import them."""

import hashlib

import pytest

import scratchvgg as sv


def saved(folder, name="net.npz"):
    path = folder / name
    sv.save({"weight": sv.tensor([1.0, 2.0])}, path)
    return path


def test_model_zoo_downloads_once(tmp_path, monkeypatch):
    import scratchvgg.utils.model_zoo as model_zoo

    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
    source = saved(tmp_path)
    assert model_zoo.load_url(source.as_uri(), progress=False)["weight"].tolist() == [1, 2]
    source.unlink()
    assert model_zoo.load_url(source.as_uri(), progress=False)["weight"].tolist() == [1, 2]
    assert (tmp_path / "home/checkpoints/net.npz").is_file()


def test_the_hash_in_the_name_is_checked(tmp_path):
    from scratchvgg.hub import load_state_dict_from_url
    from scratchvgg.weights.download import DownloadError

    source = saved(tmp_path)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    right, wrong = source.rename(tmp_path / f"net-{digest[:8]}.npz"), saved(tmp_path, "net-00000000.npz")
    options = {"model_dir": tmp_path / "cache", "check_hash": True, "progress": False}
    assert load_state_dict_from_url(right.as_uri(), **options)["weight"].tolist() == [1, 2]
    with pytest.raises(DownloadError, match="net-00000000"):
        load_state_dict_from_url(wrong.as_uri(), **options)
    with pytest.raises(ValueError, match="carries no hash"):
        load_state_dict_from_url(saved(tmp_path, "plain.npz").as_uri(), **options)


def test_utils_data_is_data():
    from scratchvgg.utils.data import DataLoader, Dataset

    assert DataLoader is sv.data.DataLoader and Dataset is sv.data.Dataset
    assert sv.utils.data.DataLoader is DataLoader
