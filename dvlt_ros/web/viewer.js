// A .glb in three.js (the one that NiceGUI brings): turn with the mouse, the camera stays where it is when sliders move.
import { GLTFLoader, OrbitControls, THREE } from "nicegui-scene";

const FIRST_LOOK = new THREE.Vector3(-0.5, 0.45, 1); // from the reference camera: a little aside, above and behind

export default {
  template: `<div class="dvlt-viewer" data-state="empty"></div>`,
  props: { url: String, scene: Number, pointSize: Number },
  mounted() {
    this.world = new THREE.Scene();
    this.world.background = new THREE.Color("#10141c");
    this.camera = new THREE.PerspectiveCamera(50, 1, 0.01, 1000);
    try {
      this.renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
    } catch (error) {
      this.$el.dataset.state = "failed";
      this.$el.textContent = "This browser has no WebGL, so it cannot show 3D; the downloads work all the same.";
      return;
    }
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.$el.appendChild(this.renderer.domElement);
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.addEventListener("change", this.draw);
    this.observer = new ResizeObserver(this.resize);
    this.observer.observe(this.$el);
    this.resize();
    if (this.url) this.load();
  },
  unmounted() {
    this.observer?.disconnect();
    this.controls?.dispose();
    this.renderer?.dispose();
  },
  watch: {
    url() {
      this.load();
    },
    pointSize() {
      this.applyPointSize();
      this.draw();
    },
  },
  methods: {
    async load() {
      if (!this.renderer) return;
      const url = this.url;
      this.$el.dataset.state = "loading";
      let loaded;
      try {
        loaded = (await new GLTFLoader().loadAsync(url)).scene;
      } catch (error) {
        if (url === this.url) this.$el.dataset.state = "lost";
        return;
      }
      if (url !== this.url) return; // a slider was quicker
      if (this.model) this.clear();
      this.model = loaded;
      this.world.add(loaded);
      if (this.shown !== this.scene) this.look();
      this.shown = this.scene;
      this.applyPointSize();
      this.draw();
      const points = loaded.getObjectByName("points");
      this.$el.dataset.points = points ? points.geometry.attributes.position.count : 0;
      this.$el.dataset.state = "ready";
    },
    clear() {
      this.world.remove(this.model);
      this.model.traverse((part) => {
        part.geometry?.dispose();
        part.material?.dispose();
      });
    },
    look() {
      // The box of most points and of the cameras: the farthest few would make the rest small.
      const positions = this.model.getObjectByName("points").geometry.attributes.position;
      const step = Math.max(1, Math.floor(positions.count / 5000));
      const axes = [[], [], []];
      for (let i = 0; i < positions.count; i += step)
        axes.forEach((values, axis) => values.push(positions.getComponent(i, axis)));
      axes.forEach((values) => values.sort((a, b) => a - b));
      const at = (share) => new THREE.Vector3(...axes.map((v) => v[Math.floor(share * (v.length - 1))]));
      const box = new THREE.Box3(at(0.05), at(0.95));
      const cameras = this.model.getObjectByName("camera_overlay");
      if (cameras) box.expandByObject(cameras);
      const size = Math.max(box.min.distanceTo(box.max), 1e-6);
      const target = box.getCenter(new THREE.Vector3());
      this.camera.position.copy(target).addScaledVector(FIRST_LOOK.clone().normalize(), 0.85 * size);
      this.camera.near = size / 1000;
      this.camera.far = size * 100;
      this.camera.updateProjectionMatrix();
      this.controls.target.copy(target);
      this.controls.update();
    },
    applyPointSize() {
      const points = this.model?.getObjectByName("points");
      if (!points) return;
      points.material.sizeAttenuation = false;
      points.material.size = this.pointSize;
      points.material.needsUpdate = true;
    },
    resize() {
      const { clientWidth: width, clientHeight: height } = this.$el;
      if (!width || !height) return;
      this.renderer.setSize(width, height);
      this.camera.aspect = width / height;
      this.camera.updateProjectionMatrix();
      this.draw();
    },
    draw() {
      this.renderer.render(this.world, this.camera);
    },
    scroll_into_view() {
      this.$el.scrollIntoView({ block: "nearest" });
    },
    reset_view() {
      if (!this.model) return;
      this.look();
      this.draw();
    },
  },
};
