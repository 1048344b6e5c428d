import test from 'ava';
import {
	chainId, configPlatform, convertLayerType, detectMediaType, digestOf, encodeImageConfig, encodeIndex, encodeManifest, goTime, isAccelerationLayer,
	isDigest, isOverlaybdLayer, layerCompression, layerType, mediaTypes, newImageConfig, overlaybdAnnotations, parseImageConfig, parseIndex,
	parseManifest, turboTarget, validateDigest, Verifier, withLayers, type ImageConfig, type Manifest,
} from '../../src/image/index.js';

const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const text = (document: Uint8Array) => Buffer.from(document).toString('utf8');
const digestA = digestOf('a');
const digestB = digestOf('b');

const manifest: Manifest = {
	mediaType: mediaTypes.ociManifest,
	config: { mediaType: mediaTypes.ociConfig, digest: digestA, size: 7 },
	layers: [{ mediaType: mediaTypes.ociLayer, digest: digestB, size: 9, annotations: { z: '<1>', a: '2' } }],
};

test('a manifest is written byte for byte as Go writes it', (t) => {
	const { bytes: written, descriptor } = encodeManifest(manifest);
	t.is(text(written), [
		'{', '  "schemaVersion": 2,', `  "mediaType": "${mediaTypes.ociManifest}",`,
		'  "config": {', `    "mediaType": "${mediaTypes.ociConfig}",`, `    "digest": "${digestA}",`, '    "size": 7', '  },',
		'  "layers": [', '    {', `      "mediaType": "${mediaTypes.ociLayer}",`, `      "digest": "${digestB}",`, '      "size": 9,',
		'      "annotations": {', '        "a": "2",', '        "z": "\\u003c1\\u003e"', '      }', '    }', '  ]', '}',
	].join('\n'));
	t.deepEqual(descriptor, { mediaType: mediaTypes.ociManifest, digest: digestOf(written), size: written.length });
	t.deepEqual(parseManifest(written), manifest);
});

test('an index keeps platforms under their OCI names', (t) => {
	const index = {
		mediaType: mediaTypes.ociIndex,
		manifests: [{ mediaType: mediaTypes.ociManifest, digest: digestA, size: 1, platform: { os: 'windows', architecture: 'amd64', osVersion: '10.0', osFeatures: ['x'], variant: 'v2' } }],
		annotations: { k: 'v' },
	};
	const { bytes: written } = encodeIndex(index);
	t.regex(text(written), /"platform": \{\s+"architecture": "amd64",\s+"os": "windows",\s+"os.version": "10.0",\s+"os.features": \[\s+"x"\s+\],\s+"variant": "v2"\s+\}/);
	t.deepEqual(parseIndex(written), index);
});

const badManifests: readonly (readonly [what: string, content: unknown, message: RegExp])[] = [
	['no JSON', '{"a', /is not valid JSON/],
	['a list', '[]', /must be an object/],
	['null', 'null', /must be an object/],
	['no config', { layers: [] }, /config must be an object/],
	['an index', { manifests: [] }, /is an index, not a manifest/],
	['a bad digest', { config: { digest: 'sha256:x', size: 1 }, layers: [] }, /config: digest "sha256:x": invalid checksum digest length/],
	['a path for a digest', { config: { digest: '../../etc', size: 1 }, layers: [] }, /invalid checksum digest format/],
	['a negative size', { config: { digest: digestA, size: -1 }, layers: [] }, /size must be a number of bytes, not -1/],
	['a fraction', { config: { digest: digestA, size: 1.5 }, layers: [] }, /size must be/],
	['a size in text', { config: { digest: digestA, size: '1' }, layers: [] }, /size must be/],
	['layers as an object', { config: { digest: digestA, size: 1 }, layers: {} }, /layers must be a list/],
	['a layer that is null', { config: { digest: digestA, size: 1 }, layers: [null] }, /layer 0 must be an object/],
	['annotations with numbers', { config: { digest: digestA, size: 1, annotations: { a: 1 } }, layers: [] }, /annotations must hold strings/],
];

for (const [what, content, message] of badManifests) {
	test(`a manifest with ${what} is refused`, (t) => void t.throws(() => parseManifest(bytes(content)), { message }));
}

test('a config of a newer kind goes through with what we do not know', (t) => {
	const source = { architecture: 'amd64', os: 'linux', future: { b: 1, a: ['<'] }, config: { Env: ['A=1'], Zeta: 1, User: 'u' }, rootfs: { type: 'layers', diff_ids: [digestA] } };
	t.is(text(encodeImageConfig(parseImageConfig(bytes(source)))),
		`{"architecture":"amd64","config":{"User":"u","Env":["A=1"],"Zeta":1},"future":{"b":1,"a":["\\u003c"]},"os":"linux","rootfs":{"type":"layers","diff_ids":["${digestA}"]}}`);
});

test('a config is written in the order BuildKit writes it', (t) => {
	const config: ImageConfig = {
		...newImageConfig({ os: 'linux', architecture: 'arm', variant: 'v7' }),
		created: '2024-01-02T03:04:05Z',
		config: {
			Shell: ['/bin/sh'], Labels: { b: '2', a: '1' }, Volumes: { '/v': {} }, ExposedPorts: { '80/tcp': {} }, Cmd: ['x'], Entrypoint: [], User: '',
			Healthcheck: { Retries: 3, Test: ['CMD', 'x'], Interval: 1_000_000_000, Timeout: 0 }, OnBuild: ['RUN x'], StopSignal: 'SIGINT', WorkingDir: '/', ArgsEscaped: false,
		},
		history: [{ empty_layer: true, created_by: 'ENV A=1 # buildkit', comment: 'buildkit.dockerfile.v0', created: '2024-01-02T03:04:05Z' }, { created_by: 'RUN x', empty_layer: false }],
	};
	t.is(text(encodeImageConfig(config)), '{"architecture":"arm","config":{"ExposedPorts":{"80/tcp":{}},"Cmd":["x"],"Volumes":{"/v":{}},"WorkingDir":"/",'
		+ '"Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT","Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"Retries":3},"OnBuild":["RUN x"],"Shell":["/bin/sh"]},'
		+ '"created":"2024-01-02T03:04:05Z","history":[{"created":"2024-01-02T03:04:05Z","created_by":"ENV A=1 # buildkit","comment":"buildkit.dockerfile.v0","empty_layer":true},{"created_by":"RUN x"}],'
		+ '"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"variant":"v7"}');
	t.deepEqual(configPlatform(config), { os: 'linux', architecture: 'arm', variant: 'v7' });
});

test('null members of a config count as absent, as in Go', (t) => {
	const config = parseImageConfig(bytes({ architecture: 'amd64', os: 'linux', config: { Env: null, Cmd: null, Labels: null }, rootfs: { type: 'layers', diff_ids: null }, history: null }));
	t.deepEqual(config.config, {});
	t.deepEqual(config.rootfs.diff_ids, []);
	t.notRegex(text(encodeImageConfig(config)), /null/);
});

for (const [what, config] of Object.entries({
	'text for Env': { config: { Env: 'A=1' } },
	'numbers in Cmd': { config: { Cmd: [1] } },
	'a list for Labels': { config: { Labels: ['a'] } },
	'numbers for labels': { config: { Labels: { a: 1 } } },
	'a list for config': { config: [] },
	'text for history': { history: 'x' },
	'numbers in history': { history: [1] },
	'a number for created_by': { history: [{ created_by: 1 }] },
	'text for empty_layer': { history: [{ empty_layer: 'yes' }] },
	'text for rootfs': { rootfs: 'x' },
	'a number for os': { os: 1 },
	'text for Interval': { config: { Healthcheck: { Interval: '1s' } } },
})) {
	test(`an image config with ${what} is refused`, (t) => {
		t.regex(t.throws(() => parseImageConfig(bytes(config))).message, /^image config.* (must|has)/);
	});
}

test('a history is completed for layers it does not mention', (t) => {
	const base: ImageConfig = { ...newImageConfig({ os: 'linux', architecture: 'amd64' }), history: [{ created: '2020-01-01T00:00:00Z', created_by: 'base' }, { created_by: 'ENV', empty_layer: true }] };
	const result = withLayers(base, [{ diffId: digestA }, { diffId: digestB, description: 'RUN x', createdAt: '2024-01-01T00:00:00Z' }]);
	t.deepEqual(result.history, [
		{ created: '2020-01-01T00:00:00Z', created_by: 'base' },
		{ created: '2024-01-01T00:00:00Z', created_by: 'ENV', empty_layer: true },
		{ created: '2024-01-01T00:00:00Z', created_by: 'RUN x', comment: 'buildkit.exporter.image.v0' },
	]);
	t.deepEqual(result.rootfs.diff_ids, [digestA, digestB]);
	t.is(result.created, '2024-01-01T00:00:00Z');
});

test('a history that claims too many layers is cut from the top', (t) => {
	const base: ImageConfig = { ...newImageConfig({ os: 'linux', architecture: 'amd64' }), history: [{ created_by: 'a' }, { created_by: 'b' }] };
	t.deepEqual(withLayers(base, [{ diffId: digestA }]).history, [{ created_by: 'a' }, { created_by: 'b', empty_layer: true }]);
});

test('times have no trailing zeros', (t) => {
	t.is(goTime(new Date('2024-01-01T00:00:00.000Z')), '2024-01-01T00:00:00Z');
	t.is(goTime(new Date('2024-01-01T00:00:00.120Z')), '2024-01-01T00:00:00.12Z');
	t.is(goTime(new Date('2024-01-01T00:00:10.000Z')), '2024-01-01T00:00:10Z');
});

test('overlaybd layers are told from ordinary, turbo and trace layers', (t) => {
	const plain = { mediaType: mediaTypes.ociLayer, digest: digestA, size: 5 };
	const layer = { ...plain, annotations: overlaybdAnnotations(digestA, 5) };
	t.deepEqual(layer.annotations, {
		'containerd.io/snapshot/overlaybd/blob-digest': digestA, 'containerd.io/snapshot/overlaybd/blob-size': '5', 'containerd.io/snapshot/overlaybd/version': '0.1.0',
	});
	t.true(isOverlaybdLayer(layer));
	t.false(isOverlaybdLayer(plain));
	const trace = { ...layer, annotations: { ...layer.annotations, 'containerd.io/snapshot/overlaybd/acceleration-layer': 'yes' } };
	t.false(isOverlaybdLayer(trace));
	t.true(isAccelerationLayer(trace));
	const turbo = { ...layer, annotations: { ...layer.annotations, 'containerd.io/snapshot/overlaybd/fastoci/target-digest': digestB, 'containerd.io/snapshot/overlaybd/turbo-oci/target-media-type': mediaTypes.ociLayerGzip } };
	t.deepEqual(turboTarget(turbo), { digest: digestB, mediaType: mediaTypes.ociLayerGzip });
	t.is(turboTarget(layer), undefined);
});

test('layer media types: what they mean, and their other name', (t) => {
	t.is(layerCompression(mediaTypes.dockerLayerGzip), 'gzip');
	t.is(layerCompression(mediaTypes.ociForeignLayerZstd), 'zstd');
	t.is(layerCompression(mediaTypes.ociConfig), undefined);
	t.is(layerType('uncompressed', false), mediaTypes.dockerLayer);
	t.is(layerType('zstd', true), mediaTypes.ociLayerZstd);
	t.is(layerType('zstd', false), mediaTypes.dockerLayerZstd);
	t.is(convertLayerType(mediaTypes.ociLayerGzip, false), mediaTypes.dockerLayerGzip);
	t.is(convertLayerType('application/x', true), 'application/x');
});

test('the type of a manifest without one is seen from its content', (t) => {
	t.is(detectMediaType(bytes({ manifests: [] })), mediaTypes.ociIndex);
	t.is(detectMediaType(bytes({ config: {}, layers: [] })), mediaTypes.ociManifest);
	t.is(detectMediaType(bytes({ mediaType: mediaTypes.dockerManifest, config: {} })), mediaTypes.dockerManifest);
	t.is(detectMediaType(bytes({ mediaType: 'text/html', config: {} })), undefined);
	t.is(detectMediaType(bytes({ schemaVersion: 1 })), mediaTypes.dockerManifestV1);
	t.is(detectMediaType(bytes('<html>')), undefined);
});

test('digests', (t) => {
	t.true(isDigest(digestA));
	for (const bad of ['', 'sha256', 'sha256:', ':x', 'sha256:zz', `sha256:${'g'.repeat(64)}`, `__proto__:${'a'.repeat(64)}`, `toString:${'a'.repeat(64)}`]) t.false(isDigest(bad), bad);
	t.notThrows(() => validateDigest(`sha512:${'a'.repeat(128)}`));
	const verifier = new Verifier(`sha512:${'a'.repeat(128)}`);
	verifier.update(Buffer.from('ab'));
	t.is(verifier.size, 2);
	t.is(verifier.finish(), 'sha512:2d408a0717ec188158278a796c689044361dc6fdde28d6f04973b80896e1823975cdbf12eb63f9e0591328ee235d80e9b5bf1aa6a44f4617ff3caf6400eb172d');
	t.is(chainId([]), '');
	t.is(chainId([digestA]), digestA);
	t.is(chainId([digestA, digestB]), digestOf(`${digestA} ${digestB}`));
});
