"""Anybody's depth, sharpened along the photo: here a 60 x 40 map in metres, as a phone or a small network would give."""

from pathlib import Path

import keendepth

photo = keendepth.read_image(Path(__file__).with_name("coffee.png"))
small = keendepth.load("indoor-small")(photo).resized(40, 60)  # stands for your own depth; a file works too

refined = keendepth.refine(photo, small, strength=1.0)

print(f"{small.size} -> {refined.size}, still {refined.kind} in {refined.unit}")
print(f"scale x{refined.refinement.residual_scale:.4f}, shift {refined.refinement.residual_shift:+.4f} m")
