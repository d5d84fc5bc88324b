"""`python -m tests.pasted`: what is pasted, what counts as found, and the figures, on faces with a free licence."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from minicnn.apps.faces import MARGINS, Box, Reader, crop, make_detector
from minicnn.data.synthetic import draw_faces
from tests import pasted
from tests.portraits import FACE, Pixels, astronaut, write_network


@pytest.fixture(scope="module")
def images() -> Pixels:
    """Photographs in FER2013's form: Eileen Collins, and faces of scikit-image that are only looked for."""
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_BGR2GRAY)
    small = [cv2.resize((face * 255).astype(np.uint8), (48, 48)) for face in data.lfw_subset()[:5]]
    return np.stack([crop(grey, FACE, margin=0.1), *small])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(write_network(tmp_path_factory.mktemp("network") / "small.safetensors"))


@pytest.mark.parametrize("ground", pasted.GROUNDS)
def test_the_face_lies_where_it_is_said_to_be(ground: str) -> None:
    (image,), _ = draw_faces(1, 0)
    picture, place = pasted.paste(image, ground, (0, 3))
    assert picture.shape == (pasted.HEIGHT, pasted.WIDTH)
    enlarged = cv2.resize(image, place[2:], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(picture[place.y :, place.x :][: place.height, : place.width], enlarged)


def test_the_same_seed_pastes_alike_and_another_does_not() -> None:
    (image,), _ = draw_faces(1, 0)
    first, again, other = (pasted.paste(image, "noise", (0, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1] != other[1]


def test_a_photograph_is_found_and_its_exact_crop_is_nearly_itself(images: Pixels) -> None:
    found = pasted.find(images[:1], make_detector())
    assert found.crops.shape == (1, len(MARGINS), 48, 48)
    assert np.abs(found.exact[0].astype(int) - images[0]).mean() < 3
    (right, down, size) = found.offsets[0]
    assert abs(right) < 0.15
    assert abs(down) < 0.15
    assert 0.6 < size < 1.3


def test_a_box_on_a_part_of_the_face_is_no_find(images: Pixels) -> None:
    places = iter([pasted.paste(image, "plain", (0, number))[1] for number, image in enumerate(images)])

    def eye(grey: Pixels) -> list[Box]:
        x, y, side, _ = next(places)
        return [Box(x + side // 5, y + side // 3, side // 5, side // 5)]

    assert len(pasted.find(images, eye).images) == 0


def test_boxes_that_are_exact_agree_as_often_as_the_exact_crop_does(images: Pixels, reader: Reader) -> None:
    places = iter([pasted.paste(image, "plain", (0, number))[1] for number, image in enumerate(images)])
    found = pasted.find(images, lambda grey: [next(places)], margins=(0.0,))
    np.testing.assert_array_equal(found.crops[:, 0], found.exact)
    np.testing.assert_array_equal(found.offsets, [[0, 0, 1]] * len(images))
    exact, (row,) = pasted.compare(found, reader, [1])
    assert row == pasted.Agreement(1, exact, 1.0, (1.0, 1.0))


def test_the_agreement_is_counted_on_the_means_over_the_crops(images: Pixels, reader: Reader) -> None:
    crops = draw_faces(4 * len(images), 0)[0].reshape(-1, 4, 48, 48)
    found = pasted.Found(images, images, crops, np.zeros((len(images), 3)))
    exact, rows = pasted.compare(found, reader, [1, 4])
    assert exact == 1
    for row in rows:
        expected = reader.read_crops(crops[:, : row.crops]).argmax(axis=1) == reader.read_crops(images[:, None]).argmax(
            1
        )
        assert row.agreement == row.ratio == expected.mean()
        assert row.interval[0] <= row.ratio <= row.interval[1]


def test_the_program_prints_its_figures(
    tmp_path: Path, images: Pixels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_network(tmp_path / "small.safetensors")
    rows = [
        f"0,{' '.join(map(str, image.ravel()))},{usage}" for usage in ("Training", "PublicTest") for image in images
    ]
    (tmp_path / "faces.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    arguments = ["pasted", "--weights", str(weights), "--data", str(tmp_path / "faces.csv")]
    monkeypatch.setattr("sys.argv", [*arguments, "--json"])
    pasted.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == len(images) >= figures["found"] > 0
    assert [row["crops"] for row in figures["rows"]] == [1, len(MARGINS)]
    monkeypatch.setattr("sys.argv", arguments)
    pasted.main()
    assert f"of the crops of the box: {figures['rows'][0]['agreement']:.3f}, ratio" in capsys.readouterr().out
