// 3D Gaussian splats of a PLY (Kerbl et al. 2023) in three.js: ellipses on the screen, blended back to front.
import { THREE } from "nicegui-scene";

const SH_0 = 0.28209479177387814; // the spherical harmonic of degree 0
const BUCKETS = 65536; // of the depths that are sorted
const SAME_DIRECTION = Math.cos((0.5 * Math.PI) / 180); // of sight: less of a turn changes no order that is seen
const COLUMNS = [
  ...["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"],
  ...["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"],
];

const VERTEX = `
uniform vec2 viewport; // pixels
uniform float largest; // point, pixels
in vec3 xx_xy_xz, yy_yz_zz; // covariance
in vec4 color; // and opacity
out vec4 shade;
out vec3 conic; // the inverse covariance on the screen: xx, xy, yy
out float size; // pixels

void main() {
  vec3 seen = (modelViewMatrix * vec4(position, 1.0)).xyz;
  gl_Position = projectionMatrix * vec4(seen, 1.0);
  vec2 focal = 0.5 * viewport * vec2(projectionMatrix[0][0], projectionMatrix[1][1]);
  mat3 seen_from_own = mat3(modelViewMatrix);
  vec3 across = vec3(focal.x / -seen.z, 0.0, focal.x * seen.x / (seen.z * seen.z)) * seen_from_own;
  vec3 upward = vec3(0.0, focal.y / -seen.z, focal.y * seen.y / (seen.z * seen.z)) * seen_from_own;
  mat3 covariance = mat3(xx_xy_xz, xx_xy_xz.y, yy_yz_zz.xy, xx_xy_xz.z, yy_yz_zz.yz);
  float xx = dot(across, covariance * across) + 0.3; // no ellipse is thinner than a pixel
  float xy = dot(across, covariance * upward);
  float yy = dot(upward, covariance * upward) + 0.3;
  conic = vec3(yy, -xy, xx) / max(xx * yy - xy * xy, 1e-6);
  float variance = 0.5 * (xx + yy) + length(vec2(0.5 * (xx - yy), xy)); // along the long axis
  size = min(2.0 * sqrt(2.0 * log(max(255.0 * color.a, 1.0)) * variance), largest); // beyond it nothing is visible
  gl_PointSize = size;
  shade = color;
}`;

const FRAGMENT = `
in vec4 shade;
in vec3 conic;
in float size;
out vec4 drawn;

void main() {
  vec2 off = size * (gl_PointCoord - 0.5) * vec2(1.0, -1.0);
  float alpha = shade.a * exp(-0.5 * dot(conic, vec3(off.x * off.x, 2.0 * off.x * off.y, off.y * off.y)));
  if (alpha < 1.0 / 255.0) discard;
  drawn = vec4(shade.rgb, alpha);
}`;

// A file as arrays: centers (3 N), covariances (6 N: xx xy xz yy yz zz), colors (4 N, 0 to 255, with opacity).
export function readSplats(buffer) {
  const { count, stride, start, offsets } = readHead(buffer);
  const view = new DataView(buffer, start);
  const splats = {
    count,
    centers: new Float32Array(3 * count),
    covariances: new Float32Array(6 * count),
    colors: new Uint8ClampedArray(4 * count),
  };
  const at = COLUMNS.map((name) => offsets[name]);
  const row = new Float64Array(COLUMNS.length);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < row.length; k++) row[k] = view.getFloat32(i * stride + at[k], true);
    splats.centers.set(row.subarray(0, 3), 3 * i);
    for (let k = 0; k < 3; k++) splats.colors[4 * i + k] = 255 * (0.5 + SH_0 * row[3 + k]);
    splats.colors[4 * i + 3] = 255 / (1 + Math.exp(-row[6]));
    putCovariance(splats.covariances, 6 * i, row);
  }
  return splats;
}

function readHead(buffer) {
  const text = new TextDecoder("latin1").decode(buffer.slice(0, 8192));
  const end = text.indexOf("end_header\n");
  const lines = text.slice(0, Math.max(end, 0)).split("\n");
  if (lines[0] !== "ply" || lines[1] !== "format binary_little_endian 1.0") throw new Error("no binary PLY");
  const count = Number(lines.find((line) => line.startsWith("element vertex "))?.split(" ")[2]);
  const names = lines.filter((line) => line.startsWith("property float ")).map((line) => line.split(" ")[2]);
  const offsets = Object.fromEntries(names.map((name, k) => [name, 4 * k]));
  const missing = COLUMNS.filter((name) => !(name in offsets));
  if (missing.length) throw new Error(`no splats: ${missing.join(", ")} missing`);
  return { count, stride: 4 * names.length, start: end + "end_header\n".length, offsets };
}

// Of the row's scales and quaternion (w x y z): R diag(deviations^2) R^T.
function putCovariance(covariances, start, row) {
  const length = Math.hypot(row[10], row[11], row[12], row[13]);
  const [w, x, y, z] = [row[10] / length, row[11] / length, row[12] / length, row[13] / length];
  const turned = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
  const variances = [Math.exp(2 * row[7]), Math.exp(2 * row[8]), Math.exp(2 * row[9])];
  let at = start;
  for (let i = 0; i < 3; i++)
    for (let j = i; j < 3; j++) {
      const [one, other] = [turned[i], turned[j]];
      covariances[at++] =
        one[0] * other[0] * variances[0] + one[1] * other[1] * variances[1] + one[2] * other[2] * variances[2];
    }
}

// What the scene shows of them: a point each, as large as its ellipse. `sort` it for a camera before it is drawn.
export class SplatCloud extends THREE.Points {
  constructor({ count, centers, covariances, colors }, largestPoint) {
    const geometry = new THREE.BufferGeometry();
    const both = new THREE.InterleavedBuffer(covariances, 6);
    geometry.setAttribute("position", new THREE.BufferAttribute(centers, 3));
    geometry.setAttribute("xx_xy_xz", new THREE.InterleavedBufferAttribute(both, 3, 0));
    geometry.setAttribute("yy_yz_zz", new THREE.InterleavedBufferAttribute(both, 3, 3));
    geometry.setAttribute("color", new THREE.BufferAttribute(colors, 4, true));
    geometry.setIndex(new THREE.BufferAttribute(new Uint32Array(count), 1));
    const material = new THREE.ShaderMaterial({
      glslVersion: THREE.GLSL3,
      uniforms: { viewport: { value: new THREE.Vector2() }, largest: { value: largestPoint } },
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      transparent: true,
      depthWrite: false,
    });
    super(geometry, material);
    this.frustumCulled = false;
    this.sortedAlong = new THREE.Vector3();
  }

  get count() {
    return this.geometry.index.count;
  }

  // The farthest first, by depth along the camera's line of sight. `viewport`: pixels.
  sort(camera, viewport) {
    this.material.uniforms.viewport.value.copy(viewport);
    this.updateWorldMatrix(true, false);
    const own = new THREE.Matrix3().setFromMatrix4(this.matrixWorld).transpose();
    const along = camera.getWorldDirection(new THREE.Vector3()).applyMatrix3(own);
    if (along.dot(this.sortedAlong) > SAME_DIRECTION) return;
    this.sortedAlong.copy(along);
    farthestFirst(this.geometry.attributes.position.array, along, this.geometry.index.array);
    this.geometry.index.needsUpdate = true;
  }

  dispose() {
    this.material.dispose();
    this.geometry.dispose();
  }
}

// Counting sort into `order`.
export function farthestFirst(centers, along, order) {
  const count = order.length;
  const depths = new Float32Array(count);
  let nearest = Infinity;
  let farthest = -Infinity;
  for (let i = 0; i < count; i++) {
    depths[i] = centers[3 * i] * along.x + centers[3 * i + 1] * along.y + centers[3 * i + 2] * along.z;
    const depth = depths[i]; // rounded, as the buckets see it
    if (depth < nearest) nearest = depth;
    if (depth > farthest) farthest = depth;
  }
  const scale = (BUCKETS - 1) / Math.max(farthest - nearest, 1e-12);
  const bucket = (i) => Math.floor((farthest - depths[i]) * scale);
  const starts = new Uint32Array(BUCKETS + 1);
  for (let i = 0; i < count; i++) starts[bucket(i) + 1]++;
  for (let k = 0; k < BUCKETS; k++) starts[k + 1] += starts[k];
  for (let i = 0; i < count; i++) order[starts[bucket(i)]++] = i;
}
