"""Awkward images and names: each is audited or rejected with a reason, and nothing is lost from the count."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from identiface_audit.errors import FacesError
from identiface_audit.faces import find_faces, labels_from_name, list_files
from identiface_audit.images import decode, fit, read_bytes
from identiface_audit.settings import load_settings

NAME = "25_0_1_20170116174525125.jpg"
SETTINGS = load_settings()


@pytest.fixture(scope="module")
def picture():
    from identiface_audit.synthetic import draw_faces

    return draw_faces(1, seed=5)[0][0]


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["116_1_4_1.jpg", "0_0_0_20170116174525125.JPG", "25_0_1_2%00.jpg.chip.jpg", "25_0_1_20170116"])
def test_names_that_state_their_labels(name):
    assert labels_from_name(name)["true_gender"] in ("MALE", "FEMALE")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("25_3_1_1.jpg", "gender '3'"),
        ("25_-1_1_1.jpg", "gender '-1'"),
        ("25_01_1_1.jpg", "gender '01'"),
        ("25_1.0_1_1.jpg", "extension"),
        ("25_ 1_1_1.jpg", "gender ' 1'"),
        ("25_١_1_1.jpg", "gender '١'"),
        ("25_1_5_1.jpg", "race '5'"),
        ("117_1_1_1.jpg", "age '117'"),
        ("39_1_20170116174525125.jpg", "3 fields"),
        ("25_0_1_2_3.jpg", "5 fields"),
        (".25_0_1_1.jpg", "hidden"),
        ("25_0_1_1.jpg.part", ".part"),
        ("25_0_1_<img src=x onerror=alert(1)>.jpg", "datetime"),
        ("25_0_1_.jpg", "datetime"),
    ],
)
def test_names_that_do_not(name, reason):
    with pytest.raises(FacesError, match=None) as error:
        labels_from_name(name)
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_the_same_pixels(picture, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(encoded(picture, kind, **options)), picture)


def test_jpeg_is_what_pillow_makes_of_it(picture):
    data = encoded(picture, "JPEG", quality=92)
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_turned_once_and_as_pillow_turns_it(picture, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture[:150], "JPEG", quality=95, exif=exif)
    assert np.array_equal(decode(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


def test_grey_16_bit_and_palette_pictures_are_three_channels(picture):
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    wide = grey.astype(np.uint16) * 257
    assert np.array_equal(decode(encoded(grey, "PNG"))[..., 1], grey)
    assert np.array_equal(decode(encoded(wide, "PNG"))[..., 2], grey)
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(64).save(buffer, "GIF")
    assert decode(buffer.getvalue()).shape == picture.shape


def damaged(picture):
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    turned = bytearray(jpeg)
    for i in np.random.default_rng(0).integers(800, len(jpeg) - 10, 40):
        turned[i] ^= 0xFF
    frames = [Image.fromarray(picture), Image.fromarray(picture[::-1])]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return {
        "empty": b"",
        "only the JPEG's first bytes": jpeg[:3],
        "half a JPEG": jpeg[: len(jpeg) // 2],
        "no end marker": jpeg[:-2],
        "flipped bytes": bytes(turned),
        "half a PNG": png[: len(png) // 2],
        "two frames": buffer.getvalue(),
        "text": b"<html>not a picture</html>",
        "a zip": b"PK\x03\x04" + bytes(40),
        "one pixel": encoded(picture[:1, :1], "PNG"),
        "a line": encoded(np.zeros((1, 5000, 3), np.uint8), "PNG"),
        "61 megapixels": encoded(np.zeros((7800, 7800), np.uint8), "PNG"),
        "400 megapixels": encoded(np.zeros((20000, 20000), bool), "PNG"),
    }


def test_what_is_no_whole_still_picture_has_a_reason_and_the_audit_goes_on(picture, tmp_path, landmarker):
    "Each case in a folder of good faces: files found = audited + rejected, in order, with one line a file."
    from identiface_audit.audit import audit
    from identiface_audit.synthetic import demo_model, write_faces

    folder = tmp_path / "faces"
    good = write_faces(folder, 6, seed=9)["image_path"].tolist()
    bad = {}
    for k, (what, data) in enumerate(damaged(picture).items()):
        bad[f"30_1_2_{k:017d}.jpg"] = what
        (folder / f"30_1_2_{k:017d}.jpg").write_bytes(data)
    os.mkfifo(folder / "31_0_0_1.jpg")
    (folder / "32_0_0_1.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "notes.txt").write_text("not a face")
    with open(folder / "33_0_0_1.jpg", "wb") as sparse:
        sparse.truncate(3_000_000_000)
    for gender in (0, 1):  # one picture under two labels
        (folder / f"40_{gender}_0_2.jpg").write_bytes(encoded(picture, "JPEG", quality=80))
    done = audit(folder, demo_model(), tmp_path / "audit")
    reasons = dict(done.rejected.itertuples(index=False))
    assert done.faces(["image_path"])["image_path"].tolist() == sorted(good)
    assert sorted([*good, *reasons]) == sorted(p.name for p in folder.iterdir())
    assert all(r and "\n" not in r for r in reasons.values()), reasons
    assert done.summary["n_faces"] + done.summary["n_rejected"] == len(list(folder.iterdir()))
    assert "3000.0 MB" in reasons["33_0_0_1.jpg"] and "regular" in reasons["31_0_0_1.jpg"]
    assert "other labels" in reasons["40_0_0_2.jpg"] and "other labels" in reasons["40_1_0_2.jpg"]
    assert {w for p, w in bad.items() if p not in reasons} == set()


@pytest.mark.parametrize("what", ["missing", "a file", "empty", "no face in it"])
def test_folders_that_cannot_be_audited(tmp_path, what):
    folder = tmp_path / "faces"
    if what == "a file":
        folder.write_text("x")
    elif what != "missing":
        folder.mkdir()
    if what == "no face in it":
        (folder / "notes.txt").write_text("x")
    with pytest.raises(FacesError) as error:
        find_faces(folder, SETTINGS)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_linked_folders_are_named_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / NAME).write_bytes(b"x")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real")
    found, rejected = list_files(tmp_path / "real")
    assert found == [NAME] and rejected == [("again", "a linked folder is not followed")]


def test_labels_from_a_table(tmp_path, picture):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (tmp_path / name).write_bytes(encoded(np.roll(picture, ord(name[0]), 0), "PNG"))
    table = tmp_path / "labels.csv"
    table.write_text("file,sex,years\na.png,F,31\nb.png,1,\nc.png,unknown,40\ngone.png,m,20\n../out.png,m,20\n")
    settings = SETTINGS.replace(path_column="file", gender_column="sex", age_column="years")
    faces, rejected = find_faces(tmp_path, settings, labels=table)
    assert faces["true_gender"].tolist() == ["FEMALE", "FEMALE"] and faces["age"].isna().tolist() == [False, True]
    reasons = dict(rejected.itertuples(index=False))
    assert "'unknown'" in reasons["c.png"] and "no row" in reasons["d.png"] and "no such file" in reasons["gone.png"]
    assert "leads out" in reasons["../out.png"] and "labels.csv" in reasons
    with pytest.raises(FacesError, match="no column 'image_path'"):
        find_faces(tmp_path, SETTINGS, labels=table)
    table.write_text("file,sex\na.png,F\na.png,M\n")
    with pytest.raises(FacesError, match="2 times"):
        find_faces(tmp_path, settings, labels=table)


def test_fit_is_pillows_resize(picture):
    grey = Image.fromarray(picture).convert("L").resize((40, 48))
    assert np.array_equal(fit(picture, (48, 40, 1))[..., 0], np.asarray(grey))


@pytest.mark.shared
def test_the_manifest_of_awkward_inputs(shared):
    "Every case as the manifest says; where it says both, either. Pixels equal those of the case it names, within lossy coding."
    folder = shared / "bad_inputs"
    cases = json.loads((folder / "manifest.json").read_text())
    pixels, wrong = {}, []
    for case in cases:
        try:
            faces, _ = find_faces(folder / case["case"], SETTINGS)
            pixels[case["case"]] = decode(read_bytes(folder / case["case"] / faces["image_path"][0]))
            got = "accepted"
        except FacesError:
            got = "rejected"
        if got not in f"{case['expect']} {case['note']}":
            wrong.append((case["case"], got))
    assert not wrong
    for case in cases:
        if case["ref"] and case["case"] in pixels:
            a, b = pixels[case["case"]].astype(int), pixels[case["ref"]].astype(int)
            assert a.shape == b.shape and np.abs(a - b).mean() < 3, case["case"]
    assert len(cases) == 63
