"""Settings: every bad value is one line with file, section and key."""

import pytest

from identiface_audit.errors import SettingsError
from identiface_audit.regions import region_set
from identiface_audit.settings import load_settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[maps]\npercentile = 101\n", ["[maps] percentile", "between 0 and 100"]),
        ("[maps]\npercentile = high\n", ["'high' is not a number"]),
        ("[maps]\npercentile = nan\n", ["[maps] percentile"]),
        ("[maps]\nmethod = lime\n", ["'lime' is not one of", "scorecam"]),
        ("[maps]\nmetod = gradcam\n", ["[maps] metod", "no such setting"]),
        ("[faces]\nmethod = gradcam\n", ["it belongs in [maps]"]),
        ("[model]\nclasses = FEMALE\n", ["two or more different names"]),
        ("[model]\nclasses = A, A\n", ["two or more different names"]),
        ("[engine]\nbatch_size = 6.5\n", ["not a whole number"]),
        ("[engine]\nworkers = -1\n", ["between 0 and 256"]),
        ("method = gradcam\n", ["not a settings file"]),
        ("[maps]\nmethod = gradcam\nmethod = gradcam\n", ["not a settings file"]),
    ],
)
def test_bad_files(tmp_path, text, words):
    file = tmp_path / "mine.ini"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_settings(file)
    line = str(error.value)
    assert "\n" not in line and str(file) in line and all(w in line for w in words), line


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "x.ini").write_bytes(b"\xff\xfe\x00binary")
    for file in (tmp_path / "x.ini", tmp_path / "none.ini"):
        with pytest.raises(SettingsError, match=str(file)):
            load_settings(file)


def test_later_ones_win(tmp_path):
    (tmp_path / "mine.ini").write_text("[maps]\nmethod = gradcam\nthreshold = li\npercentile = 80\n")
    settings = load_settings(tmp_path / "mine.ini", "notebook", threshold="yen")
    assert (settings.method, settings.threshold, settings.percentile) == ("gradcam++", "yen", 90.0)
    assert load_settings(tmp_path / "mine.ini").percentile == 80.0
    with pytest.raises(SettingsError, match="preset 'paper'"):
        load_settings(preset="paper")


@pytest.mark.parametrize("text", ["[", "[]", '{"lips": []}', '{"lips": [478]}', '{"lips": [1.0]}', '{"up per": [1]}', '{"lips": [true]}'])
def test_own_region_lists_are_checked(tmp_path, text):
    (tmp_path / "regions.json").write_text(text)
    with pytest.raises(SettingsError, match="regions.json"):
        region_set(str(tmp_path / "regions.json"))


def test_own_region_lists(tmp_path):
    (tmp_path / "regions.json").write_text('{"mouth": [0, 13, 14], "nose_tip": [4]}')
    assert region_set(str(tmp_path / "regions.json")) == {"mouth": [0, 13, 14], "nose_tip": [4]}
