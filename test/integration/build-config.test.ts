// buildkitd.toml for builds: registries reached through a mirror, and files that are wrong.
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObd, runObdImage, writeFiles } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

test.serial('a registry is reached through its mirror, lazily too', async (t) => {
	const { base, registry: { host } } = t.context;
	const maker = await ownStore(t);
	const data = randomBytes(1 << 20);
	await build(maker, ['-t', `${host}/lazy`, '--push', await makeContext(maker, { Dockerfile: `FROM ${base}\nCOPY data /data\n`, data })]);

	const store = await ownStore(t);
	const config = path.join(store.directory, 'buildkitd.toml');
	await writeFiles(store.directory, { 'buildkitd.toml': `[registry."registry.invalid"]\n  mirrors = ["${host}"]\n` });
	await build(store, ['--config', config, await makeContext(store, { Dockerfile: 'FROM registry.invalid/base\nRUN true\n' })]);
	const { stderr } = await build(store, ['--config', config, await makeContext(store, { Dockerfile: 'FROM registry.invalid/lazy\nRUN wc -c < /data\n' })]);
	t.regex(stderr, new RegExp(`^#\\d+ [0-9.]+ ${data.length}$`, 'm'));
	await nothingLeft(t, store);

	const flags = ['--config', config, '--root', store.root, 'registry.invalid/lazy', '--', 'wc', '-c', '/data'];
	const { code, stdout, stderr: report } = await runObdImage(store, ['run', ...flags]);
	t.is(code, 0, report);
	t.is(stdout, `${data.length} /data\n`);
});

for (const [what, text, error] of [
	['is not there', undefined, /^ERROR: failed to read \S+\/buildkitd\.toml: no such file$/m],
	['is no TOML', '[registry\n', /^ERROR: failed to load config from \S+\/buildkitd\.toml: line 1, column \d+: /m],
	['asks for a device server that nobody knows', '[worker.oci]\ndevice = "nbd"\n', /worker\.oci\.device in the configuration file must be one of auto, ublk, tcmu, fuse, not "nbd"$/m],
	['says something else', '[registry."r.example"]\nmirrors = "m.example"\n', /registry\."r\.example"\.mirrors must be a list of strings, not "m\.example"$/m],
] as const) {
	test.serial(`a configuration file that ${what}`, async (t) => {
		const { base, store } = t.context;
		const context = await makeContext(store, { Dockerfile: `FROM ${base}\n`, ...(text !== undefined && { 'buildkitd.toml': text }) });
		const { code, stderr } = await runObd(store, ['--config', path.join(context, 'buildkitd.toml'), context]);
		t.is(code, 1);
		t.regex(stderr, error);
		await nothingLeft(t, store);
	});
}
