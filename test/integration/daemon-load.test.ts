// `docker buildx build --load`: what obd-buildd builds becomes an ordinary image of a docker daemon, and runs there.
import anyTest, { type TestFn } from 'ava';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed, type TestDaemon } from './helpers/daemon.js';
import { startDockerd, type Dockerd } from './helpers/dockerd.js';
import { makeContext } from './helpers/obd.js';

interface Context extends BuildContext {
	docker: Dockerd;
	daemon: TestDaemon;
}

const test = anyTest as TestFn<Context>;
setUpBuilds(test as unknown as TestFn<BuildContext>);

test.serial.before(async (t) => {
	const [docker, daemon] = await Promise.all([startDockerd(), startDaemon(t.context.store)]);
	Object.assign(t.context, { docker, daemon });
});

test.after.always(async (t) => {
	await t.context.daemon?.stop();
	await t.context.docker?.stop();
});

test.serial('an image is loaded into a docker daemon, and runs there as it was built', async (t) => {
	const { base, daemon, docker, store } = t.context;
	const context = await makeContext(store, {
		Dockerfile: `FROM ${base}\nRUN echo built >/made && ln /made /linked && rm /bin/true\nCOPY --chown=7:8 --chmod=640 file /copied\nENV WHO=me\nWORKDIR /work\nUSER 7\nENTRYPOINT ["sh", "-c"]\nCMD ["id -u; pwd; cat /made /linked /copied; echo $WHO; test -e /bin/true || echo gone"]\n`,
		file: 'copied\n',
	});
	for (const name of ['loaded:1', 'loaded:2']) {
		await succeed(daemon.buildx(['build', '--builder', 'obd', '--progress', 'plain', '--load', '-t', name, context], { env: { DOCKER_HOST: docker.address } }));
		const { code, output } = await docker.docker(['run', '--rm', '--network', 'none', name]);
		t.is(code, 0, output);
		t.is(output, '7\n/work\nbuilt\nbuilt\ncopied\nme\ngone\n');
	}
	const ids = await docker.docker(['image', 'inspect', '--format', '{{.Id}}', 'loaded:1', 'loaded:2']);
	t.is(new Set(ids.output.trim().split('\n')).size, 1, 'the same build is the same image');
});

test.serial('a docker daemon that is not there fails the build', async (t) => {
	const { base, daemon, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\n` });
	const { code, stderr } = await daemon.buildx(['build', '--builder', 'obd', '--progress', 'plain', '--load', '-t', 'x', context], { env: { DOCKER_HOST: `unix://${store.directory}/none.sock` } });
	t.not(code, 0);
	t.regex(stderr, /io: read\/write on closed pipe/);
	t.is((await daemon.stop()).code, 0);
	await nothingLeft(t, store);
});
