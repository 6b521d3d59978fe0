"""The programs of the second renderer, in GLSL 3.30: exact records, colour, light and the shadow map."""

from __future__ import annotations

VERTEX = """
#version 330
uniform mat4 to_camera; uniform mat4 projection; uniform mat3 turn; uniform mat4 model;
in vec3 place; in vec3 normal; in vec3 face; in vec2 st;
out vec3 at; out vec3 n; out vec2 uv; out vec3 world; flat out vec4 plane;
void main() {
    vec4 w = model * vec4(place, 1.0);
    vec4 p = to_camera * w;
    at = p.xyz; world = w.xyz; uv = st;
    n = turn * normal;
    vec3 f = normalize(turn * face);
    plane = vec4(f, dot(f, p.xyz));
    gl_Position = projection * p;
}
"""

# Depth comes from the triangle's own plane at the pixel's centre: interpolated depth would carry the snapping of corners to 1/256 pixel.
EXACT = """
#version 330
uniform vec4 lens; uniform float ident; uniform sampler2D picture; uniform float textured;
in vec3 at; in vec2 uv; flat in vec4 plane;
layout(location = 0) out vec4 record; layout(location = 1) out vec4 who;
void main() {
    if (textured > 0.5 && texture(picture, uv).a < 0.5) discard;
    vec3 ray = vec3((gl_FragCoord.x - lens.z) / lens.x, (gl_FragCoord.y - lens.w) / lens.y, 1.0);
    float slope = dot(plane.xyz, ray);
    float z = abs(slope) > 1e-3 ? plane.w / slope : at.z;
    if (!(abs(z - at.z) < 0.02 * at.z)) z = at.z;
    record = vec4(slope > 0.0 ? -plane.xyz : plane.xyz, z);
    who = vec4(ident, 0.0, 0.0, 1.0);
}
"""

COLOUR = """
#version 330
uniform vec3 colour; uniform sampler2D picture; uniform float textured; uniform float shine; uniform float glow;
in vec3 at; in vec3 n; in vec2 uv; in vec3 world; flat in vec4 plane;
layout(location = 0) out vec4 albedo; layout(location = 1) out vec4 bend; layout(location = 2) out vec4 spot;
void main() {
    vec4 c = textured > 0.5 ? texture(picture, uv) : vec4(1.0);
    if (c.a < 0.5) discard;
    vec3 face = dot(plane.xyz, at) > 0.0 ? -plane.xyz : plane.xyz;
    vec3 m = normalize(n);
    if (dot(m, face) < 0.0) m = -m;
    albedo = vec4(clamp(colour * pow(c.rgb, vec3(2.2)), 0.01, 0.92), shine);
    bend = vec4(m, at.z);
    spot = vec4(world, glow);
}
"""

# One full-screen pass: hemisphere light dimmed by nearby depth, windows as broad lights, one lamp with a shadow map.
LIGHT = """
#version 330
uniform sampler2D albedo; uniform sampler2D bend; uniform sampler2D spot; uniform sampler2D shadow;
uniform vec4 lens; uniform mat3 camera; uniform vec3 eye; uniform mat4 lamp_view; uniform vec3 lamp; uniform vec3 lamp_colour;
uniform vec3 windows[8]; uniform vec3 window_ways[8]; uniform vec3 window_colours[8]; uniform int window_count; uniform vec3 ambient;
layout(location = 0) out vec4 shown; layout(location = 1) out vec4 diffuse;
float noise(vec2 p) { return fract(52.9829189 * fract(dot(p, vec2(0.06711056, 0.00583715)))); }
float open_share(vec3 p, vec3 n, vec2 pixel) {
    float turn = 6.2831853 * noise(pixel), shut = 0.0;
    for (int i = 0; i < 14; i++) {
        float r = (float(i) + 0.7) / 14.0, a = turn + 2.3999632 * float(i), h = 1.0 - 2.0 * fract(float(i) * 0.618034 + 0.3);
        vec3 d = n + vec3(sqrt(1.0 - h * h) * vec2(cos(a), sin(a)), h);
        vec3 q = p + normalize(d + 1e-4) * (0.02 + 0.7 * r * r);
        vec2 where = (q.xy / q.z * lens.xy + lens.zw) / vec2(textureSize(bend, 0));
        float z = texture(bend, where).w;
        if (z > 0.0 && z < q.z - 0.02 && q.z - z < 0.9) shut += 1.0;
    }
    return 1.0 - shut / 14.0;
}
float lamp_share(vec3 w, vec3 n, vec2 pixel) {
    vec4 p = lamp_view * vec4(w + 0.02 * n, 1.0);
    if (p.w <= 0.0) return 1.0;
    vec3 q = p.xyz / p.w;
    if (max(abs(q.x), abs(q.y)) > 0.97) return 1.0;
    float lit = 0.0, turn = 6.2831853 * noise(pixel + 7.0);
    for (int i = 0; i < 9; i++) {
        float r = 0.022 * sqrt((float(i) + 0.5) / 9.0), a = turn + 2.3999632 * float(i);
        float seen = texture(shadow, 0.5 + 0.5 * q.xy + r * vec2(cos(a), sin(a))).r;
        lit += seen == 0.0 || p.w < seen + 0.03 ? 1.0 : 0.0;
    }
    return lit / 9.0;
}
void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec4 a = texelFetch(albedo, at, 0), b = texelFetch(bend, at, 0), s = texelFetch(spot, at, 0);
    if (b.w <= 0.0) { shown = vec4(0.0); diffuse = vec4(0.0); return; }
    vec3 p = vec3((gl_FragCoord.xy - lens.zw) / lens.xy, 1.0) * b.w;
    vec3 n = camera * b.xyz, look = normalize(s.xyz - eye);
    float open = open_share(p, b.xyz, gl_FragCoord.xy);
    vec3 light = ambient * (0.75 + 0.25 * n.z) * open, gloss = vec3(0.0);
    for (int k = 0; k < window_count; k++) {
        vec3 way = windows[k] - s.xyz; float far = length(way); way /= far;
        vec3 c = window_colours[k] * max(0.0, -dot(way, window_ways[k])) / max(far * far, 0.3);
        light += c * max(0.0, 0.15 + 0.85 * dot(n, way)) * open;
        gloss += c * pow(max(0.0, dot(n, normalize(way - look))), 30.0);
    }
    vec3 way = lamp - s.xyz; float far = length(way); way /= far;
    vec3 c = lamp_colour * lamp_share(s.xyz, n, gl_FragCoord.xy) / max(far * far, 0.2);
    light += c * max(0.0, dot(n, way));
    gloss += c * pow(max(0.0, dot(n, normalize(way - look))), 40.0);
    light = mix(light, vec3(s.w), step(0.001, s.w));
    shown = vec4(a.rgb * light + 0.6 * a.a * gloss, 1.0);
    diffuse = vec4(light, 1.0);
}
"""
SCREEN = "#version 330\nin vec2 corner; void main() { gl_Position = vec4(corner, 0.0, 1.0); }"
CAST = (
    "#version 330\nin vec3 at; out vec4 far; uniform mat4 projection; void main() { far = vec4(1.0 / gl_FragCoord.w); }"
)
