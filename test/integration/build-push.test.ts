// A Dockerfile becomes an overlaybd image in a real registry.
import { execFile } from 'node:child_process';
import { lstat, mkdtemp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { inspectLayer } from '../../src/native/layers.js';
import { digestOf, getBlob, getConfig, getManifest, tarOf } from './helpers/base-images.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObdImage, steps } from './helpers/obd.js';
import { downloadLayers, flattened, prefixProblems, readImageFiles, readTar, withRootfs } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext>;
const run = promisify(execFile);
setUpBuilds(test);

/** Builds `files` and pushes the result as `name`; returns the output. */
async function push({ registry, store }: BuildContext, name: string, files: Readonly<Record<string, string | Buffer>>, args: readonly string[] = []): Promise<string> {
	const context = await makeContext(store, files);
	return (await build(store, ['-t', `${registry.host}/${name}`, '--push', ...args, context])).stderr;
}

test.serial('the instructions of a multi-stage Dockerfile end up in the image', async (t) => {
	const { base, registry, store } = t.context;
	await push(t.context, 'multi', {
		Dockerfile: `FROM ${base} AS compile
ARG WHO=nobody
WORKDIR /src
COPY src/ ./
RUN tr a-z A-Z < hello.txt > out.txt && echo "$WHO" >> out.txt

FROM ${base}
LABEL team=storage
ENV GREETING=hello PLACE="the world"
WORKDIR /app
COPY --from=compile /src/out.txt made.txt
COPY --chown=app:wheel --chmod=640 src/hello.txt owned.txt
COPY src/*.txt all/
ADD archive.tar /unpacked/
RUN echo "$GREETING $PLACE" > greeting.txt
USER app
RUN id > /tmp/id.txt && pwd > /tmp/pwd.txt
EXPOSE 8080
ENTRYPOINT ["cat"]
CMD ["/app/made.txt"]
`,
		'src/hello.txt': 'hello\n',
		'src/more.txt': 'more\n',
		'archive.tar': await tarOf([{ name: 'inside.txt', content: 'inside\n' }]),
	}, ['--build-arg', 'WHO=tester', '--label', 'ci=yes']);

	const { config } = await getConfig(registry.host, 'multi');
	t.deepEqual(config, {
		Env: ['PATH=/bin:/usr/bin', 'GREETING=hello', 'PLACE=the world'],
		Entrypoint: ['cat'],
		Cmd: ['/app/made.txt'],
		ArgsEscaped: true,
		WorkingDir: '/app',
		User: 'app',
		Labels: { team: 'storage', ci: 'yes' },
		ExposedPorts: { '8080/tcp': {} },
	});
	await withRootfs(store, registry.host, 'multi', async (root) => {
		const read = (file: string): Promise<string> => readFile(path.join(root, file), 'utf8');
		t.is(await read('app/made.txt'), 'HELLO\ntester\n');
		t.is(await read('app/all/hello.txt'), 'hello\n');
		t.is(await read('app/all/more.txt'), 'more\n');
		t.is(await read('unpacked/inside.txt'), 'inside\n');
		t.is(await read('app/greeting.txt'), 'hello the world\n');
		t.is(await read('tmp/id.txt'), 'uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)\n');
		t.is(await read('tmp/pwd.txt'), '/app\n');
		const owned = await lstat(path.join(root, 'app/owned.txt'));
		t.deepEqual([owned.uid, owned.gid, owned.mode & 0o7777], [1000, 10, 0o640]);
		await t.throwsAsync(lstat(path.join(root, 'src')), { code: 'ENOENT' });
	});
	await nothingLeft(t, store);
});

test.serial('manifest, config and layers are what overlaybd and OCI ask for', async (t) => {
	const { base, registry, store } = t.context;
	const shown = await push(t.context, 'documents', {
		Dockerfile: `FROM ${base}\nENV A=1\nCOPY file /file\nRUN echo run > /run.txt\nWORKDIR /made/here\nCMD ["true"]\n`,
		file: 'copied\n',
	});
	const { manifest } = await getManifest(registry.host, 'documents');
	const config = await getConfig(registry.host, 'documents');
	t.is(manifest.mediaType, 'application/vnd.oci.image.manifest.v1+json');
	t.is(manifest.config.mediaType, 'application/vnd.oci.image.config.v1+json');
	t.is(manifest.layers.length, 4, 'the base, COPY, RUN, WORKDIR');
	for (const { digest } of manifest.layers.slice(1)) t.regex(shown, new RegExp(`pushing ${digest} .* done`), 'also what was sent while steps ran');
	t.deepEqual(config.rootfs, { type: 'layers', diff_ids: manifest.layers.map(({ digest }) => digest) });
	for (const layer of manifest.layers) {
		const blob = await getBlob(registry.host, 'documents', layer.digest);
		t.is(digestOf(blob), layer.digest);
		t.deepEqual(layer, {
			mediaType: 'application/vnd.oci.image.layer.v1.tar',
			digest: layer.digest,
			size: blob.length,
			annotations: {
				'containerd.io/snapshot/overlaybd/blob-digest': layer.digest,
				'containerd.io/snapshot/overlaybd/blob-size': String(blob.length),
				'containerd.io/snapshot/overlaybd/version': '0.1.0',
			},
		});
		t.deepEqual((await readTar(blob)).map(({ name, type }) => [name, type]), [['overlaybd.commit', 'file']]);
	}
	t.deepEqual(config.history.map(({ created_by, empty_layer, comment }) => [created_by, empty_layer, comment]), [
		['layer 0', undefined, undefined],
		['ENV A=1', true, 'buildkit.dockerfile.v0'],
		['COPY file /file # buildkit', undefined, 'buildkit.dockerfile.v0'],
		['RUN /bin/sh -c echo run > /run.txt # buildkit', undefined, 'buildkit.dockerfile.v0'],
		['WORKDIR /made/here', undefined, 'buildkit.dockerfile.v0'],
		['CMD ["true"]', true, 'buildkit.dockerfile.v0'],
	]);
	t.is(config.created, config.history[4]?.created, 'created with the last layer');
	await nothingLeft(t, store);
});

test.serial('every prefix of the layers is a clean file system of its own, and each layer names the one below', async (t) => {
	const { base, registry, store } = t.context;
	await push(t.context, 'prefixes', {
		Dockerfile: `FROM ${base}
RUN mkdir /data && for i in $(seq 300); do echo $i > /data/$i; done
RUN rm -rf /data/1* && mv /data/22 /data/moved && ln /data/moved /data/linked
COPY file /data/
RUN chown -R app:app /data && dd if=/dev/zero of=/zeroes bs=1M count=8
RUN rm -rf /data /zeroes
`,
		file: 'copied\n',
	});
	const layers = await downloadLayers(store, registry.host, 'prefixes');
	t.is(layers.length, 6);
	t.deepEqual(await prefixProblems(store, layers), []);
	const reports = await Promise.all(layers.map((file) => inspectLayer(file)));
	for (const [i, report] of reports.entries()) {
		t.deepEqual(report.problems, []);
		t.is(report.lsmt?.parentUuid, reports[i - 1]?.lsmt?.uuid ?? '00000000-0000-0000-0000-000000000000');
	}
	t.is(new Set(reports.map(({ lsmt }) => lsmt?.uuid)).size, layers.length);
	await nothingLeft(t, store);
});

test.serial('what a step writes and deletes again is not in its layer', async (t) => {
	const { base, registry, store } = t.context;
	await push(t.context, 'deleted', {
		Dockerfile: `FROM ${base}\nRUN dd if=/dev/urandom of=/big bs=1M count=64 && sync && rm /big && echo small > /small\n`,
	});
	const { manifest } = await getManifest(registry.host, 'deleted');
	const size = manifest.layers.at(-1)?.size ?? 0;
	t.true(size < 512 * 1024, `the layer has ${size} bytes`);
	t.deepEqual(await readImageFiles(store, registry.host, 'deleted', ['small']), ['small\n']);
});

test.serial('steps that only change the config make no layer and start no device', async (t) => {
	const { base, registry } = t.context;
	await push(t.context, 'first', { Dockerfile: `FROM ${base}\nRUN echo one > /one\n` });
	const output = await push(t.context, 'config-only', {
		Dockerfile: `FROM ${base}\nRUN echo one > /one\nENV X=1\nLABEL l=1\nUSER app\nEXPOSE 1\nVOLUME /v\nSHELL ["/bin/ash", "-c"]\nSTOPSIGNAL 9\nCMD echo $X\nHEALTHCHECK CMD true\n`,
	});
	t.deepEqual((await getManifest(registry.host, 'config-only')).manifest.layers, (await getManifest(registry.host, 'first')).manifest.layers);
	t.deepEqual(steps(output).filter(({ name }) => /^\[\d/.test(name)).map(({ state }) => state), ['CACHED', 'CACHED']);
	const config = await getConfig(registry.host, 'config-only');
	t.deepEqual(config.config.Cmd, ['/bin/ash', '-c', 'echo $X']);
});

test.serial('skopeo copies the image, and it is still the same', async (t) => {
	const { base, registry, store } = t.context;
	await push(t.context, 'original', { Dockerfile: `FROM ${base}\nRUN echo copied > /copied\n` });
	const { host } = registry;
	await run('skopeo', ['copy', '--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests', `docker://${host}/original:latest`, `docker://${host}/copy:latest`]);
	t.is((await getManifest(host, 'copy')).digest, (await getManifest(host, 'original')).digest);
	t.deepEqual(await readImageFiles(store, host, 'copy', ['copied']), ['copied\n']);

	const layout = await mkdtemp(path.join(store.directory, 'layout-'));
	await run('skopeo', ['copy', '--src-tls-verify=false', '--preserve-digests', `docker://${host}/original:latest`, `oci:${layout}:latest`]);
	await run('skopeo', ['copy', '--dest-tls-verify=false', '--preserve-digests', `oci:${layout}:latest`, `docker://${host}/back:latest`]);
	t.is((await getManifest(host, 'back')).digest, (await getManifest(host, 'original')).digest);
});

test.serial('several tags are one image; obd-image flattens a reference as it does the layers', async (t) => {
	const { base, registry, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo tags > /tags\n` });
	const { host } = registry;
	await build(store, ['-t', `${host}/tags:one`, '-t', `${host}/tags:two`, '-t', `${host}/elsewhere`, '--push', context]);
	const digests = await Promise.all(['tags:one', 'tags:two', 'elsewhere'].map(async (name) => (await getManifest(host, name)).digest));
	t.is(new Set(digests).size, 1);

	const disk = path.join(store.directory, 'by-reference');
	const result = await runObdImage(store, ['flatten', `${host}/tags:one`, '-o', disk]);
	t.is(result.code, 0, result.stderr);
	t.is(await sparseDigest(disk), await sparseDigest(await flattened(store, await downloadLayers(store, host, 'tags:one'))));
	await nothingLeft(t, store);
});

/** Digest of a sparse file's data and where it is; reading through 64 GiB of holes would take a minute. */
async function sparseDigest(file: string): Promise<string> {
	const { stdout } = await run('sh', ['-c', 'tar --sparse --mtime=@0 --transform=s/.*/disk/ -C "$1" -cf - "$2" | sha256sum', 'sh', path.dirname(file), path.basename(file)]);
	return stdout;
}
