"""Reading photos: any mode and orientation to upright sRGB, with the camera from what is given or from EXIF."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from keendepth.core.types import Camera, Image
from keendepth.io.camera import given_camera
from keendepth.io.errors import FileError, check_file, check_size, reading

# Formats by what Pillow calls them; it knows more, some of which start other programs (EPS runs Ghostscript).
COMMON = ("JPEG", "PNG", "PPM", "BMP", "GIF")  # what Pillow has at once; JPEG includes the MPO of phones
OTHERS = ("WEBP", "TIFF", "AVIF", "JPEG2000", "TGA")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO/IEC 23008-12

EXIF_ORIENTATION, EXIF_BLOCK, EXIF_35MM = (
    0x0112,
    0x8769,
    0xA405,
)  # Exif 2.32: Orientation, Exif IFD, FocalLengthIn35mmFilm
UPRIGHT = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}


def read_image(
    path: str | Path, *, focal: float | None = None, fov: float | None = None, camera_file: str | Path | None = None
) -> Image:
    """A photo as upright 8-bit sRGB.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid over white, the first
    frame is taken of an animation, 16-bit grey is divided by 257. The camera is the given one (`focal` in pixels of the
    upright photo, horizontal `fov` in degrees, or `camera_file`), else from EXIF's 35 mm focal length, else None.
    Raises FileError where the file is missing, damaged, no photo, or too large.
    """
    path = Path(path)
    check_file(path)
    with reading(path, "a photo"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's on size and on odd EXIF; both are handled here
        with _open(path) as picture:
            check_size(path, picture.height, picture.width)
            picture.load()
            turn, focal_35mm = _exif(picture)
            upright = _srgb(path, picture)
        if turn in UPRIGHT:
            upright = upright.transpose(UPRIGHT[turn])
        rgb = np.array(upright)
    height, width = rgb.shape[:2]
    camera = given_camera((height, width), focal, fov, camera_file)
    if camera is None and focal_35mm:
        camera = Camera.from_35mm(focal_35mm, width, height)
    return Image(rgb, camera, path.stem)


def resolve_camera(image: Image, model_camera: Camera | None = None, guess_degrees: float = 60.0) -> Camera:
    """The image's camera (given, or from EXIF), else the model's own, else a guess; `Camera.source` says which it was."""
    if image.camera:
        return image.camera
    height, width = image.size
    if model_camera is None:
        return Camera.from_fov(guess_degrees, width, height, source="guess")
    fitted = model_camera.resized(height, width)
    return Camera(fitted.fx, fitted.fy, fitted.cx, fitted.cy, width, height, source="model")


def _open(path: Path) -> PillowImage.Image:
    with path.open("rb") as stream:
        start = stream.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS:
        return _open_heic(path)
    try:
        return PillowImage.open(path, formats=COMMON)
    except PillowImage.UnidentifiedImageError:
        PillowImage.init()  # the rarer formats cost 50 ms of imports
        return _open_rare(path)


def _open_rare(path: Path) -> PillowImage.Image:
    try:
        return PillowImage.open(path, formats=[name for name in OTHERS if name in PillowImage.OPEN])
    except PillowImage.UnidentifiedImageError as error:
        known = ", ".join(name for name in COMMON + OTHERS if name in PillowImage.OPEN)
        raise FileError(path, f"expected a photo ({known} or HEIC), found something else or a damaged file") from error


def _open_heic(path: Path) -> PillowImage.Image:
    try:
        import pillow_heif  # an extra
    except ImportError as error:
        raise FileError(
            path, "this is a HEIC photo, which needs pillow-heif: pip install 'keendepth[heic]', or export it as JPEG"
        ) from error
    container = pillow_heif.open_heif(path)
    check_size(path, container.size[1], container.size[0])
    return container.to_pillow()


def _exif(picture: PillowImage.Image) -> tuple[int, float | None]:
    """(orientation, 35 mm focal length or None); damaged EXIF counts as none, the photo is still a photo."""
    try:
        exif = picture.getexif()
        turn = exif.get(EXIF_ORIENTATION, 1)
        focal = float(exif.get_ifd(EXIF_BLOCK).get(EXIF_35MM, 0))
    except Exception:
        return 1, None
    return turn if isinstance(turn, int) else 1, focal if 1 <= focal <= 10_000 else None


def _srgb(path: Path, picture: PillowImage.Image) -> PillowImage.Image:
    """RGB from any mode: transparency over white, 16 bits to 8, profile to sRGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return PillowImage.fromarray(_eight_bits(path, np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        white = PillowImage.new("RGBA", picture.size, "white")
        return _converted(PillowImage.alpha_composite(white, picture.convert("RGBA")).convert("RGB"), picture)
    if picture.mode in ("RGB", "L", "CMYK"):
        return _converted(picture, picture)
    return _converted(picture.convert("RGB"), picture)


def _eight_bits(path: Path, values: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        raise FileError(path, f"expected a photo, found numbers from {low:g} to {high:g}: is this a depth map?")
    return (values.astype(np.uint32) * 255 // 65535).astype(np.uint8) if high else np.zeros(values.shape, np.uint8)


def _converted(pixels: PillowImage.Image, picture: PillowImage.Image) -> PillowImage.Image:
    """`pixels` in sRGB by the profile of `picture`; without one, or with a broken one, they count as sRGB already."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return pixels.convert("RGB")
    from PIL import ImageCms  # 10 ms, and only photos with a profile need it

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if pixels.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(own).lower():
            return pixels
        target = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.profileToProfile(pixels, own, target, intent, outputMode="RGB") or pixels.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return pixels.convert("RGB")
