// A .glb in three.js (the one that NiceGUI brings): turn with the mouse, the camera stays where it is when sliders move.
// Splats take the place of its points where they are asked for.
import { SplatCloud, readSplats } from "dvlt-splats";
import { GLTFLoader, OrbitControls, THREE } from "nicegui-scene";

const FIRST_LOOK = new THREE.Vector3(-0.5, 0.45, 1); // from the reference camera: a little aside, above and behind

export default {
  template: `<div class="dvlt-viewer" data-state="empty"></div>`,
  props: { url: String, scene: Number, pointSize: Number, splatsUrl: String },
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
    this.clearSplats();
    this.observer?.disconnect();
    this.controls?.dispose();
    this.renderer?.dispose();
  },
  watch: {
    url() {
      this.load();
    },
    splatsUrl() {
      this.load();
    },
    pointSize() {
      this.applyPointSize();
      this.draw();
    },
  },
  methods: {
    async load() {
      if (!this.renderer || !this.url) return;
      const { url, splatsUrl } = this;
      const isWanted = () => url === this.url && splatsUrl === this.splatsUrl; // else a slider was quicker
      this.$el.dataset.state = "loading";
      try {
        if (url !== this.modelUrl) {
          const loaded = (await new GLTFLoader().loadAsync(url)).scene;
          if (!isWanted()) return;
          this.showModel(loaded, url);
        }
        if (splatsUrl && splatsUrl !== this.loadedSplatsUrl) {
          const splats = await this.fetchSplats(splatsUrl);
          if (!isWanted()) return;
          this.showSplats(splats, splatsUrl);
        }
      } catch (error) {
        if (isWanted()) this.$el.dataset.state = "lost";
        return;
      }
      const points = this.model.getObjectByName("points");
      points.visible = !splatsUrl;
      if (this.splats) this.splats.visible = Boolean(splatsUrl);
      this.draw();
      this.$el.dataset.points = points.geometry.attributes.position.count;
      this.$el.dataset.splats = splatsUrl ? this.splats.count : 0;
      this.$el.dataset.state = "ready";
    },
    showModel(loaded, url) {
      if (this.model) this.clear();
      this.model = loaded;
      this.modelUrl = url;
      this.world.add(loaded);
      if (this.shown !== this.scene) this.look();
      this.shown = this.scene;
      this.applyPointSize();
    },
    async fetchSplats(url) {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
      return readSplats(await answer.arrayBuffer());
    },
    showSplats(splats, url) {
      this.clearSplats();
      const gl = this.renderer.getContext();
      this.splats = new SplatCloud(splats, gl.getParameter(gl.ALIASED_POINT_SIZE_RANGE)[1]);
      this.splats.rotation.x = Math.PI; // as the .glb: y up
      this.loadedSplatsUrl = url;
      this.world.add(this.splats);
    },
    clearSplats() {
      if (!this.splats) return;
      this.world.remove(this.splats);
      this.splats.dispose();
      this.splats = null;
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
      if (this.splats?.visible)
        this.splats.sort(this.camera, this.renderer.getDrawingBufferSize(new THREE.Vector2()));
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
