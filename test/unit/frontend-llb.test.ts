import test from 'ava';
import type { Image } from '../../frontend/index.js';
import { buildDockerfile, decodeImage, encodeImage, formatSource, FrontendError } from '../../frontend/index.js';
import type { Graph, Vertex } from '../../src/llb/index.js';
import { loadDefinition, marshal, image as imageState } from '../../src/llb/index.js';
import type { FakeClient, FakeOptions } from './frontend-harness.js';
import { fakeClient } from './frontend-harness.js';

const base = {
	architecture: 'amd64', os: 'linux', config: { Env: ['PATH=/bin', 'FOO=bar'], WorkingDir: '/w', User: 'u', Cmd: ['sh'] },
	rootfs: { type: 'layers', diff_ids: ['sha256:1b945cc0041885df135913b21b0d1f50147d6951ec5b97b2fe9009396e16b467'] },
	history: [{ created_by: 'base' }],
};

interface Built {
	readonly client: FakeClient;
	readonly graph: Graph;
	readonly image: Image;
	readonly names: readonly string[];
	vertex(name: RegExp): Vertex;
	exec(name?: RegExp): Extract<Vertex['kind'], { $case: 'exec' }>['exec'];
	file(name: RegExp): Extract<Vertex['kind'], { $case: 'file' }>['file'];
	source(name: RegExp): { identifier: string; attrs: Record<string, string> };
}

async function build(dockerfile: string, options: Partial<FakeOptions> & { context?: Record<string, string> } = {}): Promise<Built> {
	const { context = {}, locals = {}, images = {}, ...rest } = options;
	const client = fakeClient({
		locals: { dockerfile: { Dockerfile: dockerfile, ...context }, context, ...locals },
		images: { 'docker.io/library/base:latest': base, ...images },
		...rest,
	});
	const [result] = (await buildDockerfile(client)).platforms;
	if (!result) throw new Error('no result');
	const graph = loadDefinition(result.definition);
	const vertex = (name: RegExp): Vertex => {
		const found = graph.vertices.filter((one) => name.test(one.name));
		if (found.length !== 1 || !found[0]) throw new Error(`${found.length} vertices match ${name}: ${graph.vertices.map((one) => one.name).join('; ')}`);
		return found[0];
	};
	return {
		client, graph, vertex,
		image: result.imageConfig,
		names: graph.vertices.map((one) => one.name),
		exec: (name = / RUN /) => {
			const { kind } = vertex(name);
			if (kind.$case !== 'exec') throw new Error(`${kind.$case} is no exec`);
			return kind.exec;
		},
		file: (name) => {
			const { kind } = vertex(name);
			if (kind.$case !== 'file') throw new Error(`${kind.$case} is no file`);
			return kind.file;
		},
		source: (name) => {
			const { kind } = vertex(name);
			if (kind.$case !== 'source') throw new Error(`${kind.$case} is no source`);
			return { identifier: kind.source.identifier, attrs: Object.fromEntries(kind.source.attrs) };
		},
	};
}

async function failure(dockerfile: string, options: Parameters<typeof build>[1] = {}): Promise<Error> {
	return build(dockerfile, options).then(() => new Error('built'), (error: unknown) => error as Error);
}

test('the steps of one stage, and how they are called', async (t) => {
	const { names, client } = await build('FROM base\nENV X=1\nrun echo $X "$Y"\nWORKDIR sub\nCOPY a b /d/\nUSER root\n');
	t.deepEqual(names, [
		names[0] ?? '', '[2/4] RUN echo 1 "$Y"', '[3/4] WORKDIR sub', '[internal] load build context', '[4/4] COPY a b /d/',
	]);
	t.regex(names[0] ?? '', /^\[1\/4\] FROM docker\.io\/library\/base:latest@sha256:[0-9a-f]{64}$/);
	t.deepEqual(client.resolved.map(({ logName }) => logName), ['[internal] load metadata for docker.io/library/base:latest']);
	t.deepEqual(client.solved.map((definition) => loadDefinition(definition).vertices[0]?.name), [
		'[internal] load build definition from Dockerfile', '[internal] load .dockerignore',
	]);
});

test('several stages are named, counters are as wide as the last', async (t) => {
	const runs = Array.from({ length: 10 }, (_, i) => `RUN ${i}`).join('\n');
	const { names } = await build(`FROM base AS one\n${runs}\nFROM scratch\nCOPY --from=one /a /b\n`);
	t.true(names.includes('[one  2/11] RUN 0'));
	t.true(names.includes('[one 11/11] RUN 9'));
	t.true(names.includes('[stage-1 1/1] COPY --from=one /a /b'));
});

test('stages nobody needs are not built, --target picks one', async (t) => {
	const dockerfile = 'FROM base AS a\nRUN a\nFROM missing AS b\nRUN b\nFROM a AS c\nRUN c\nFROM b\nRUN d\n';
	const { names, client } = await build(dockerfile, { opts: { target: 'C' } });
	t.deepEqual(names.slice(1), ['[a 2/2] RUN a', '[c 1/1] RUN c']);
	t.deepEqual(client.resolved.map(({ ref }) => ref), ['docker.io/library/base:latest']);
	t.is((await failure(dockerfile, { opts: { target: 'bb' } })).message, 'target stage "bb" could not be found (did you mean b?)');
});

test('RUN: shell, environment, directory, user, arguments', async (t) => {
	const built = await build('FROM base\nARG V=1\nARG W\nSHELL ["/bin/bash", "-c"]\nRUN echo "$V"\nRUN ["a", "b $V"]\n', { opts: { 'build-arg:W': '2', 'build-arg:http_proxy': 'p' } });
	const first = built.exec(/RUN echo/);
	t.deepEqual(first.meta?.args, ['/bin/bash', '-c', 'echo "$V"']);
	t.deepEqual(first.meta?.env, ['PATH=/bin', 'FOO=bar', 'V=1', 'W=2']);
	t.like(first.meta, { cwd: '/w', user: 'u', proxyEnv: { httpProxy: 'p' }, removeMountStubsRecursive: true });
	t.deepEqual(built.exec(/RUN \["a"/).meta?.args, ['a', 'b $V']);
	t.deepEqual(built.image.history?.slice(-2).map((entry) => entry.created_by), [
		'RUN |2 V=1 W=2 /bin/bash -c echo "$V" # buildkit', 'RUN |2 V=1 W=2 a b $V # buildkit',
	]);
});

test('RUN --mount', async (t) => {
	const built = await build([
		'FROM base AS src', 'FROM base', 'WORKDIR /w',
		'RUN --mount=type=bind,from=src,source=/a,target=rel --mount=type=cache,target=/c,id=x,sharing=locked,uid=5 --mount=type=tmpfs,target=/t,size=1k \\',
		'  --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=f,mode=0440,required=true --mount=type=ssh \\',
		'  --mount=target=/ctx,rw --network=none --security=insecure cmd $TOKEN',
	].join('\n'));
	const exec = built.exec();
	t.regex(built.names.at(-1) ?? '', /RUN --mount.* cmd \*{4}$/);
	t.like(exec, { network: 2, security: 1, secretenv: [{ ID: 's', name: 'TOKEN', optional: true }] });
	t.deepEqual(exec.mounts.map(({ dest, mountType, output, selector, readonly }) => [dest, mountType, output, selector, readonly]), [
		['/', 0, 0, '', false],
		['/c', 3, -1, '/cache', false],
		['/ctx', 0, -1, '', false],
		['/t', 4, -1, '', false],
		['/w/rel', 0, -1, '/a', true],
		['/run/secrets/f', 1, 0, '', false],
		['/run/buildkit/ssh_agent.0', 2, 0, '', false],
	]);
	t.like(exec.mounts[1], { cacheOpt: { ID: '/x', sharing: 2 } });
	t.like(exec.mounts[3], { TmpfsOpt: { size: 1024 }, input: -1 });
	t.like(exec.mounts[5], { secretOpt: { ID: 'f', mode: 0o440, optional: false } });
	t.true(exec.meta?.env.includes('SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0'));
	t.like(built.file(/cache mount permissions/).actions[0], { action: { mkdir: { path: '/cache', mode: 0o755, owner: { user: { user: { byID: 5 } } } } } });
	t.deepEqual(built.source(/load build context/).attrs['local.followpaths'], undefined, 'a mount of the whole context');
});

test('RUN with here-documents', async (t) => {
	const built = await build('FROM base\nRUN <<E\n#!/usr/bin/env x\n1\nE\nRUN <<E\na\nb\nE\nRUN cat <<A - <<-B\n1\nA\n\t2\nB\n');
	const script = built.exec(/RUN <<E \(#!\/usr\/bin\/env x\.\.\.\)$/);
	t.deepEqual(script.meta?.args, ['/bin/sh', '-c', '/dev/pipes/E']);
	t.like(script.mounts[1], { dest: '/dev/pipes/', readonly: true, selector: '/' });
	t.like(built.file(/preparing inline document/).actions[0], { action: { mkfile: { path: '/E', mode: 0o755, data: new Uint8Array(Buffer.from('#!/usr/bin/env x\n1\n')) } } });
	t.deepEqual(built.exec(/RUN <<E \(a\.\.\.\)$/).meta?.args, ['/bin/sh', '-c', 'a\nb\n']);
	t.deepEqual(built.exec(/RUN cat/).meta?.args, ['/bin/sh', '-c', 'cat <<A - <<-B\n1\nA\n\t2\nB']);
});

test('COPY: sources, owner, mode, patterns', async (t) => {
	const built = await build('FROM base\nARG O=bin\nCOPY --chown=$O:7 --chmod=u=rwX --exclude=*.x a b* ../c /d\nCOPY ["s p", "."]\nCOPY --parents ./x/./y/z /p/\n');
	const { actions } = built.file(/COPY --chown/);
	t.deepEqual(actions.map(({ input, secondaryInput, output, action }) => [input, secondaryInput, output, action?.$case === 'copy' ? action.copy.src : '']), [
		[0, 1, -1, '/a'], [2, 1, -1, '/b*'], [3, 1, 0, '/c'],
	]);
	t.like(actions[0]?.action, {
		copy: {
			dest: '/d', mode: 0, modeStr: 'u=rwX', followSymlink: true, dirCopyContents: true, createDestPath: true, allowWildcard: true, allowEmptyWildcard: true,
			attemptUnpackDockerCompatibility: false, timestamp: -1n, excludePatterns: ['*.x'], owner: { user: { user: { byName: { name: 'bin', input: 0 } } }, group: { user: { byID: 7 } } },
		},
	});
	t.like(built.file(/COPY \[/).actions[0]?.action, { copy: { src: '/s p', dest: '/w/', mode: -1 } });
	t.like(built.file(/COPY --parents/).actions[0]?.action, { copy: { src: '/x', dest: '/p/', includePatterns: ['y/z'], requiredPaths: ['/x/y/z'] } });
	t.deepEqual(JSON.parse(built.source(/load build context/).attrs['local.followpaths'] ?? ''), ['a', 'b*', 'c', 's p', 'x/y/z']);
	t.deepEqual(built.image.history?.slice(-3).map((entry) => entry.created_by), [
		'COPY --chown=bin:7 --chmod=u=rwX a b* ../c /d # buildkit', 'COPY s p . # buildkit', 'COPY --parents ./x/./y/z /p/ # buildkit',
	]);
});

test('COPY --link is a layer of its own, merged', async (t) => {
	const built = await build('FROM base\nCOPY --link a /b\n');
	t.deepEqual(built.names.slice(-2), ['[2/2] COPY --link a /b', '[2/2] LINK COPY --link a /b']);
	t.like(built.file(/\] COPY/).actions[0], { input: -1, secondaryInput: 0 });
	t.is(built.vertex(/LINK/).kind.$case, 'merge');
	const [copy, link] = [built.vertex(/\] COPY/), built.vertex(/LINK/)].map((one) => one.metadata.progressGroup);
	t.is(copy?.id, link?.id);
	t.deepEqual([copy?.weak, link?.weak], [true, false]);
	const old = await build('FROM base\nCOPY --link a /b\n', { client: { llbCaps: new Set(['file.base']) } });
	t.is(old.names.at(-1), '[2/2] COPY --link a /b', 'a daemon without merge copies');
	t.is(old.graph.result?.vertex.kind.$case, 'file');
});

test('ADD: archives, URLs, repositories', async (t) => {
	const built = await build('FROM scratch\nADD a.tar /\nADD --unpack=false b.tar /\nADD https://example.com/x/f.txt?q=1 /d/\nADD --keep-git-dir https://example.com/r.git#v1:sub /g\n');
	t.like(built.file(/ADD a\.tar/).actions[0]?.action, { copy: { attemptUnpackDockerCompatibility: true } });
	t.like(built.file(/ADD --unpack/).actions[0]?.action, { copy: { attemptUnpackDockerCompatibility: false } });
	const sources = built.graph.vertices.flatMap(({ kind }) => (kind.$case === 'source' ? [kind.source] : []));
	const http = sources.find(({ identifier }) => identifier.startsWith('https:'));
	t.deepEqual(http?.attrs, new Map([['http.filename', 'f.txt']]));
	const git = sources.find(({ identifier }) => identifier.startsWith('git:'));
	t.is(git?.identifier, 'git://example.com/r.git#v1:sub');
	t.like(Object.fromEntries(git?.attrs ?? []), { 'git.fullurl': 'https://example.com/r.git', 'git.keepgitdir': 'true', 'git.authtokensecret': 'GIT_AUTH_TOKEN' });
	t.deepEqual(JSON.parse(built.source(/load build context/).attrs['local.followpaths'] ?? ''), ['a.tar', 'b.tar', 'https:/example.com/r.git#v1:sub'].slice(0, 2));
});

test('here-documents as files', async (t) => {
	const built = await build('FROM base\nENV X=1\nCOPY <<A <<"B" /d/\n$X "$X"\nA\n$X\nB\n');
	const files = built.graph.vertices.flatMap(({ kind }) => (kind.$case === 'file' ? kind.file.actions : [])).flatMap(({ action }) => (action?.$case === 'mkfile' ? [action.mkfile] : []));
	t.deepEqual(files.map(({ path, mode, data }) => [path, mode, Buffer.from(data).toString()]), [['/A', 0o644, '1 "1"\n'], ['/B', 0o644, '$X\n']]);
	t.is(built.image.history?.at(-1)?.created_by, 'COPY <<A <<B /d/ # buildkit');
});

test('what is fetched of the context and what is left out', async (t) => {
	const ignored = await build('FROM base\nCOPY a /a\nADD b/c /\nRUN --mount=source=d,target=/d x\n', { context: { '.dockerignore': '# x\n*.o\n!keep.o\n' } });
	const { attrs } = ignored.source(/load build context/);
	t.is(attrs['local.excludepatterns'], '["*.o","!keep.o"]');
	t.is(attrs['local.followpaths'], '["a","b/c","d"]');
	t.is(attrs['local.sharedkeyhint'], 'context');
	const own = await build('FROM base\nCOPY . /\n', { context: { '.dockerignore': 'a', 'Dockerfile.dockerignore': 'b' } });
	t.is(own.source(/load build context/).attrs['local.excludepatterns'], '["b"]');
	t.is(own.client.solved.length, 1, 'the common one is not even looked at');
	t.is(own.source(/load build context/).attrs['local.followpaths'], undefined);
});

test('ARG scoping', async (t) => {
	const dockerfile = 'ARG A=1\nARG B=$A-b\nFROM base AS x\nARG A\nARG B=own$A\nARG C=$A$B D=$C\nENV A=env\nRUN x\nFROM x\nRUN y\n';
	const { exec } = await build(dockerfile, { opts: { 'build-arg:D': 'cli' } });
	t.deepEqual(exec(/RUN x/).meta?.env.slice(2), ['B=own1', 'C=1own1', 'D=cli', 'A=env']);
	t.deepEqual(exec(/RUN y/).meta?.env, ['B=own1', 'C=1own1', 'D=cli', 'PATH=/bin', 'FOO=bar', 'A=env'], 'a stage sees the arguments of its base');
	const from = await build('ARG I=none\nFROM $I\nARG I\nENV X=$I\n', { opts: { 'build-arg:I': 'base' } });
	t.true(from.image.config.Env?.includes('X=base'));
});

test('platform arguments and cross builds', async (t) => {
	const built = await build('FROM --platform=$BUILDPLATFORM base AS b\nARG TARGETPLATFORM TARGETARCH BUILDARCH\nRUN x\nFROM base\nCOPY --from=b / /\n', {
		opts: { platform: 'linux/arm64', 'multi-platform': 'true' },
		images: { 'docker.io/library/base:latest': { ...base, architecture: 'arm64' } },
	});
	t.deepEqual(built.exec().meta?.env.slice(2), ['TARGETPLATFORM=linux/arm64', 'TARGETARCH=arm64', 'BUILDARCH=amd64']);
	t.true(built.names.includes('[linux/amd64->arm64 b 2/2] RUN x'));
	t.like(built.vertex(/RUN x/).op.platform, { Architecture: 'amd64', OS: 'linux' });
	t.true(built.names.includes('[linux/arm64 stage-1 2/2] COPY --from=b / /'));
	t.is(built.image.architecture, 'arm64');
});

test('several platforms, one result each', async (t) => {
	const client = fakeClient({
		locals: { dockerfile: { Dockerfile: 'FROM scratch\nENV A=1\n' }, context: {} }, opts: { platform: 'linux/amd64,linux/arm/v7' },
	});
	const result = await buildDockerfile(client);
	t.true(result.multiPlatform);
	t.deepEqual(result.platforms.map(({ id, imageConfig }) => [id, imageConfig.architecture, imageConfig.variant]), [
		['linux/amd64', 'amd64', undefined], ['linux/arm/v7', 'arm', 'v7'],
	]);
	t.is(client.solved.length, 2, 'the Dockerfile and .dockerignore are read once');
});

test('ONBUILD triggers of an image and of a stage', async (t) => {
	const images = { 'docker.io/library/trigger:latest': { ...base, config: { ...base.config, OnBuild: ['RUN from-image', 'COPY --from=base /a /b'] } } };
	const built = await build('FROM trigger\nRUN own\n', { images });
	t.deepEqual(built.names.filter((name) => /^\[\S/.test(name) && !name.includes('FROM')), ['[2/4] ONBUILD RUN from-image', '[3/4] ONBUILD COPY --from=base /a /b', '[4/4] RUN own']);
	t.is(built.image.config.OnBuild, undefined);
	const stage = await build('FROM base AS a\nONBUILD RUN later\nFROM a\n');
	t.is(stage.names.at(-1), '[stage-1 1/1] ONBUILD RUN later');
	const kept = await build('FROM base\nONBUILD ENV A=1\n');
	t.deepEqual(kept.image.config.OnBuild, ['ENV A=1']);
	const error = await failure('FROM trigger', { images: { 'docker.io/library/trigger:latest': { ...base, config: { OnBuild: ['FOOBAR x'] } } } });
	t.is(error.message, 'unknown instruction: FOOBAR');
	t.deepEqual((error as FrontendError).sources[0]?.ranges.map(({ start }) => start?.line), [1]);
});

test('an image that copies from itself in a trigger ends in an error', async (t) => {
	const images = { 'docker.io/library/loop:latest': { ...base, config: { OnBuild: ['COPY --from=loop a b', 'COPY --from=loop c d'] } } };
	t.regex((await failure('FROM loop\n', { images })).message, /^ONBUILD triggers of base images nest more than/);
});

test('the image config', async (t) => {
	const { image } = await build([
		'FROM base', 'MAINTAINER me', 'LABEL b=2 a="1 x"', 'EXPOSE 9000-9001 80/UDP', 'VOLUME /v ["/w"]', 'ENTRYPOINT ["e"]', 'HEALTHCHECK --interval=1m CMD curl $X',
		'STOPSIGNAL SIGTERM', 'SHELL ["/bin/bash"]', 'ENV FOO=baz', 'WORKDIR ..', 'USER 1000:1000', 'ONBUILD RUN x', 'CMD echo <hi>',
	].join('\n'), { opts: { 'label:c': '3' } });
	t.deepEqual(Object.keys(image), ['author', 'architecture', 'os', 'rootfs', 'history', 'config']);
	t.deepEqual(Object.keys(image.config), [
		'User', 'ExposedPorts', 'Env', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir', 'Labels', 'StopSignal', 'ArgsEscaped', 'Healthcheck', 'OnBuild', 'Shell',
	]);
	t.like(image.config, {
		User: '1000:1000', Env: ['PATH=/bin', 'FOO=baz'], Entrypoint: ['e'], Cmd: ['/bin/bash', 'echo <hi>'], WorkingDir: '/', ArgsEscaped: true,
		Healthcheck: { Test: ['CMD-SHELL', 'curl $X'], Interval: 60e9 },
	});
	t.deepEqual(Object.keys(image.config.ExposedPorts ?? {}), ['80/udp', '9000/tcp', '9001/tcp']);
	t.deepEqual(Object.entries(image.config.Labels ?? {}), [['a', '1 x'], ['b', '2'], ['c', '3']]);
	t.deepEqual(image.history?.map((entry) => entry.created_by), [
		'base', 'MAINTAINER me', 'LABEL b=2 a=1 x', 'EXPOSE [80/udp 9000/tcp 9001/tcp]', 'VOLUME [/v [/w]]', 'ENTRYPOINT ["e"]',
		'HEALTHCHECK {Test:[CMD-SHELL curl $X] Interval:1m0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}', 'STOPSIGNAL SIGTERM', 'SHELL [/bin/bash]',
		'ENV FOO=baz', 'WORKDIR /', 'USER 1000:1000', 'CMD ["/bin/bash" "echo <hi>"]',
	]);
	t.true(encodeImage({ ...image, config: { Labels: { b: '', 1: '', a: '' } } }).toString().endsWith('"config":{"Labels":{"1":"","a":"","b":""}}}'));
	t.true(encodeImage({ ...image, config: { Volumes: { '/v': {}, 1: {} } } }).toString().endsWith('"Volumes":{"/v":{},"1":{}}}}'));
	t.true(encodeImage(image).toString().includes('"/bin/bash","echo \\u003chi\\u003e"'));
});

test('ENTRYPOINT drops the CMD of the base, not the one of the file', async (t) => {
	t.is((await build('FROM base\nENTRYPOINT ["e"]')).image.config.Cmd, undefined);
	t.deepEqual((await build('FROM base\nCMD ["c"]\nENTRYPOINT ["e"]')).image.config.Cmd, ['c']);
});

test('FROM scratch starts with a PATH and nothing else', async (t) => {
	const { image, graph } = await build('FROM scratch\n');
	t.is(graph.result, undefined);
	t.deepEqual(image, { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: null }, config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], WorkingDir: '/' } });
});

test('SOURCE_DATE_EPOCH', async (t) => {
	const built = await build('FROM base\nWORKDIR /x\n', { opts: { 'build-arg:SOURCE_DATE_EPOCH': '1700000000' } });
	t.is(built.image.history?.at(-1)?.created, '2023-11-14T22:13:20Z');
	t.like(built.file(/WORKDIR/).actions[0]?.action, { mkdir: { timestamp: 1700000000000000000n } });
	const named = await build('FROM scratch AS t\nADD https://example.com/f /\nFROM base\nCMD x\n', {
		opts: { 'build-arg:SOURCE_DATE_EPOCH': 't' },
		client: { resolveSourceMeta: () => Promise.resolve({ httpLastModified: new Date(5000) }) },
	});
	t.is(named.image.history?.at(-1)?.created, '1970-01-01T00:00:05Z');
	t.is((await failure('FROM base\n', { opts: { 'build-arg:SOURCE_DATE_EPOCH': 'nope' } })).message, 'invalid SOURCE_DATE_EPOCH: nope');
});

test('--no-cache, for all or some stages', async (t) => {
	const dockerfile = 'FROM base AS a\nRUN a\nCOPY x y\nFROM a AS b\nRUN b\n';
	const cached = async (opts: Record<string, string>): Promise<boolean[]> => {
		const { vertex } = await build(dockerfile, { opts });
		return [/RUN a/, /COPY/, /RUN b/].map((name) => vertex(name).metadata.ignoreCache);
	};
	t.deepEqual(await cached({}), [false, false, false]);
	t.deepEqual(await cached({ 'no-cache': '' }), [true, true, true]);
	t.deepEqual(await cached({ 'no-cache': 'A' }), [true, true, false]);
});

test('options of the build reach every RUN', async (t) => {
	const { exec, vertex } = await build('FROM base\nRUN x\n', {
		opts: {
			'force-network-mode': 'host', 'add-hosts': 'a=1.2.3.4,B=::1', 'shm-size': '1024', ulimit: 'nofile=10:20', 'cgroup-parent': 'cg', hostname: 'h',
			memory: '1000', cpuquota: '5', 'build-arg:BUILDKIT_CACHE_MOUNT_NS': 'ns', 'image-resolve-mode': 'pull',
		},
	});
	t.like(exec(), { network: 1 });
	t.like(exec().meta, { extraHosts: [{ Host: 'a', IP: '1.2.3.4' }, { Host: 'b', IP: '::1' }], ulimit: [{ Name: 'nofile', Soft: 10n, Hard: 20n }], cgroupParent: 'cg', hostname: 'h' });
	t.like(exec().mounts[1], { dest: '/dev/shm', TmpfsOpt: { size: 1024 } });
	t.like(vertex(/RUN/).metadata.linuxResources, { memory: 1000n, cpuQuota: 5n });
	t.like(Object.fromEntries((vertex(/FROM/).kind as Extract<Vertex['kind'], { $case: 'source' }>).source.attrs), { 'image.resolvemode': 'pull' });
});

for (const [option, value, message] of [
	['platform', 'a/b/c/d', 'failed to parse target platform a/b/c/d: "a/b/c/d": cannot parse platform specifier: invalid argument'],
	['image-resolve-mode', 'x', 'invalid image-resolve-mode: x'],
	['force-network-mode', 'x', 'invalid netmode x'],
	['add-hosts', 'x', 'failed to parse additional hosts: invalid key-value pair x'],
	['add-hosts', 'x=y', 'failed to parse additional hosts: failed to parse IP y'],
	['shm-size', 'x', 'failed to parse shm size: strconv.ParseInt: parsing "x": invalid syntax'],
	['ulimit', 'x=1', 'failed to parse ulimit: invalid ulimit type: x'],
	['ulimit', 'nofile=2:1', 'failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: 2 > 1'],
	['memory', '0', 'failed to parse resource limits: invalid memory value: 0: must be > 0'],
	['cpusetcpus', '3-1', 'failed to parse resource limits: invalid cpusetcpus value: 3-1: invalid cpuset range "3-1"'],
	['multi-platform', 'x', 'invalid boolean value for multi-platform: x'],
	['build-arg:BUILDKIT_DOCKERFILE_CHECK', 'x', 'failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: invalid check option "x"'],
] as const) {
	test(`refuses ${option}=${value}`, async (t) => {
		t.is((await failure('FROM base', { opts: { [option]: value } })).message, message);
	});
}

test('contexts by name: images, directories, inputs, stages', async (t) => {
	const image = await build('FROM base\nRUN x\n', { opts: { 'context:base': 'docker-image://other' }, images: { 'docker.io/library/other:latest': { ...base, config: { Env: ['O=1'] } } } });
	t.deepEqual(image.names, ['[context base] other', '[2/2] RUN x'].slice(0, 1).concat(image.names.slice(1)));
	t.deepEqual(image.exec().meta?.env, ['O=1', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']);
	t.deepEqual(image.client.resolved.map(({ logName }) => logName), ['[context base] load metadata for other']);

	const dir = await build('FROM base\nCOPY --from=src a b /\n', { opts: { 'context:src': 'local:srcdir', 'sharedkey:localdir:src': 'k' }, locals: { srcdir: { '.dockerignore': 'x' } } });
	t.deepEqual(dir.source(/\[context src\] load from client/), {
		identifier: 'local://srcdir',
		attrs: { ...dir.source(/load from client/).attrs, 'local.excludepatterns': '["x"]', 'local.followpaths': '["a","b"]', 'local.sharedkeyhint': 'context:src-k' },
	});

	const stage = await build('FROM base AS s\nRUN not-this\nFROM scratch\nCOPY --from=s /a /\n', { opts: { 'context:s': 'docker-image://base' } });
	t.false(stage.names.some((name) => name.includes('not-this')));

	const input = await build('FROM base\nRUN x\n', {
		opts: { 'context:base': 'input:i', 'input-metadata:i': JSON.stringify({ 'containerimage.config': Buffer.from(JSON.stringify(base)).toString('base64') }) },
		client: { inputs: () => Promise.resolve(new Map([['i', marshal(imageState('linked', { name: 'linked' }))]])) },
	});
	t.deepEqual(input.names[0], 'linked');

	t.is((await failure('FROM base', { opts: { 'context:base': 'nope' } })).message, 'invalid context specifier nope for base');
	t.is((await failure('FROM base', { opts: { 'context:base': 'ftp:x' } })).message, 'unsupported context source ftp for base');
	t.is((await failure('FROM base', { opts: { 'context:base': 'input:x' } })).message, 'invalid input x for base');
});

test('a context that is a repository or a download', async (t) => {
	const solveWith = (files: Record<string, string | Uint8Array>): FakeOptions['client'] => ({
		solve: () => Promise.resolve({
			readFile: (path: string) => (files[path] === undefined ? Promise.reject(new Error(`open ${path}: no such file or directory`)) : Promise.resolve(Buffer.from(files[path] ?? ''))),
			readDir: () => Promise.resolve([]),
			statFile: () => Promise.reject(new Error('no')),
		}),
	});
	const git = await build('', { opts: { context: 'https://example.com/r.git#main' }, client: solveWith({ Dockerfile: 'FROM base\nCOPY a /\n' }) });
	t.like(git.source(/load git source/), { identifier: 'git://example.com/r.git#main' });
	const plain = await build('', { opts: { context: 'https://example.com/df' }, client: solveWith({ context: 'FROM base\nCMD x\n' }) });
	t.deepEqual(plain.image.config.Cmd, ['/bin/sh', '-c', 'x']);
	const gzip = Uint8Array.of(0x1f, 0x8b, 8, 0);
	const archive = await build('', { opts: { context: 'https://example.com/x.tgz', contextsubdir: 's' }, client: solveWith({ context: gzip, Dockerfile: 'FROM base\nCOPY a /\n' }) });
	t.like(archive.file(/^copy \/context \/$/).actions[0]?.action, { copy: { attemptUnpackDockerCompatibility: true } });
	t.like(archive.file(/^copy \/s \/$/).actions[0]?.action, { copy: { dirCopyContents: true } });
});

test('every step points at its lines', async (t) => {
	const { vertex, graph } = await build('FROM base\nRUN a \\\n  b\nCOPY c d\n');
	const lines = (name: RegExp): unknown[] => vertex(name).locations.flatMap(({ ranges }) => ranges.map(({ start }) => start?.line));
	t.deepEqual([lines(/FROM/), lines(/RUN/), lines(/COPY/)], [[1], [2, 3], [4]]);
	t.like(graph.sources[0], { filename: 'Dockerfile', language: 'Dockerfile' });
});

const failures: readonly (readonly [dockerfile: string, message: string, ...lines: number[]])[] = [
	['', 'the Dockerfile cannot be empty'],
	['ARG a\n', 'dockerfile contains no stages to build'],
	['FROM base\nCOPY --from=$x a b\n', 'variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround'],
	['FROM base\nCOPY --from=7 a b\n', 'invalid stage index 7'],
	['FROM base AS a\nCOPY --from=b x y\nFROM a AS b\n', 'cannot copy from stage "b", it needs to be defined before current stage "a"', 2],
	['FROM base AS a\nRUN --mount=from=b,target=/x y\nFROM base AS b\nFROM a\nCOPY --from=b / /\n', 'cannot mount from stage "b" to "/x", stage needs to be defined before current command', 2],
	['FROM base AS a\nCOPY --from=b x y\nFROM base AS b\nCOPY --from=a x y\n', 'circular dependency detected on stage: a', 2, 4],
	['FROM UPPER\n', 'failed to parse stage name "UPPER": invalid reference format: repository name (library/UPPER) must be lowercase', 1],
	['FROM base:a:b\n', 'failed to parse stage name "base:a:b": invalid reference format', 1],
	['FROM bsae\n', 'bsae: failed to resolve source metadata for docker.io/library/bsae:latest: docker.io/library/bsae:latest: not found', 1],
	['FROM busibox\n', 'busibox: failed to resolve source metadata for docker.io/library/busibox:latest: docker.io/library/busibox:latest: not found (did you mean busybox?)', 1],
	['FROM base AS build\nFROM biuld\n', 'biuld: failed to resolve source metadata for docker.io/library/biuld:latest: docker.io/library/biuld:latest: not found (did you mean build?)', 2],
	['FROM --platform=$NONE base\n', 'empty platform value from expression $NONE', 1],
	['FROM base\nCOPY --chmod=9 a b\n', 'invalid chmod parameter: \'9\'. it should be octal string and between 0 and 07777', 2],
	['FROM base\nCOPY --chmod=77777 a b\n', 'invalid chmod parameter: \'77777\'. it should be octal string and between 0 and 07777', 2],
	['FROM base\nCOPY --chmod=u~x a b\n', 'invalid syntax', 2],
	['FROM base\nADD --checksum=sha256:00 a b\n', 'checksum requires HTTP(S) or Git sources', 2],
	['FROM base\nADD --checksum=sha256:00 https://x/a https://x/b /\n', 'checksum can\'t be specified for multiple sources', 2],
	['FROM base\nADD --checksum=sha256:00 https://x/a /\n', 'invalid checksum digest length', 2],
	['FROM base\nCOPY https://x/a /\n', 'source can\'t be a URL for COPY', 2],
	['FROM base\nCOPY https://x/a.git /\n', 'source can\'t be a git ref for COPY', 2],
	['FROM base\nADD https://x/a.git?foo=1 /\n', 'unexpected query "foo"', 2],
	['FROM base\nEXPOSE x\n', 'invalid containerPort: x', 2],
	['FROM base\nEXPOSE 70000\n', 'invalid containerPort: 70000', 2],
	['FROM base\nEXPOSE 1.2.3:80:80\n', 'invalid IP address: 1.2.3', 2],
	['FROM base\nEXPOSE 80-90:1-2\n', 'invalid ranges specified for container and host Ports: 1-2 and 80-90', 2],
	['FROM base\nSTOPSIGNAL 0\n', 'invalid signal: 0', 2],
	['FROM base\nVOLUME $x\n', 'VOLUME specified can not be an empty string', 2],
	['FROM base\nRUN []\n', 'failed to marshal LLB definition: arguments are required'],
	['FROM base\nRUN --device=a b\n', 'device feature is only supported in Dockerfile frontend 1.14.0-labs or later', 2],
	['FROM base\nRUN --mount=type=ssh,source=a b\n', 'ssh does not support source', 2],
	['# check=foo\nFROM base\n', 'failed to parse check options: invalid check option "foo"'],
	['# check=error=true\nFROM base AS A\n', 'lint violation found for rules: StageNameCasing'],
];

for (const [dockerfile, message, ...lines] of failures) {
	test(`refuses ${dockerfile.replace(/\n/g, '\u23ce')}`, async (t) => {
		const error = await failure(dockerfile);
		t.is(error.message, message);
		const shown = error instanceof FrontendError ? error.sources.map(formatSource).join('') : '';
		t.deepEqual([...shown.matchAll(/^ *(\d+) \| >>>/gm)].map((match) => Number(match[1])), lines);
	});
}

test('another frontend is not taken for this one', async (t) => {
	for (const own of ['docker/dockerfile:1', 'docker.io/docker/dockerfile-upstream:master-labs', `docker/dockerfile@sha256:${'0'.repeat(64)}`]) {
		await t.notThrowsAsync(build(`# syntax=${own}\nFROM scratch\n`), own);
	}
	const error = await failure('#syntax=example.com/frontend:1\nFROM scratch\n');
	t.regex(error.message, /^frontend example\.com\/frontend:1 cannot be run: /);
	t.is((error as FrontendError).sources[0]?.ranges[0]?.start?.line, 1);
	t.regex((await failure('FROM scratch\n', { opts: { 'build-arg:BUILDKIT_SYNTAX': 'other x=y' } })).message, /^frontend other cannot be run: .*BUILDKIT_SYNTAX$/);
	await t.notThrowsAsync(build('#syntax=self\nFROM scratch\n', { opts: { cmdline: 'self' } }));
});

test('names that are members of every object are names like any other', async (t) => {
	const { image, exec } = await build('FROM base\nARG __proto__ constructor=x\nLABEL __proto__=1 toString=2\nENV __proto__=e hasOwnProperty=h\nRUN $__proto__\n', {
		opts: { 'build-arg:__proto__': 'p' },
	});
	t.deepEqual(exec().meta?.env.slice(2), ['constructor=x', '__proto__=e', 'hasOwnProperty=h']);
	t.deepEqual(Object.entries(image.config.Labels ?? {}), [['__proto__', '1'], ['toString', '2']]);
	t.is((await failure('FROM base\nHEALTHCHECK --timeout=1constructor CMD x\n')).message, 'dockerfile parse error on line 2: time: unknown unit "constructor" in duration "1constructor"');
});

test('a chain of 3,000 stages that copy from each other', async (t) => {
	const stages = Array.from({ length: 3000 }, (_, i) => `FROM base AS s${i}\n${i > 0 ? `COPY --from=s${i - 1} / /\nCOPY --from=s${i - 1} /a /b\n` : ''}`);
	t.is((await build(stages.join(''))).graph.vertices.length, 2 * 2999 + 1);
});

test('an empty Dockerfile.dockerignore counts', async (t) => {
	const { source } = await build('FROM base\nCOPY . /\n', { context: { '.dockerignore': 'a', 'Dockerfile.dockerignore': '' } });
	t.is(source(/load build context/).attrs['local.excludepatterns'], undefined);
});

test('a Dockerfile that is not there, one in lower case, one elsewhere', async (t) => {
	const error = await buildDockerfile(fakeClient({ locals: { dockerfile: {} } })).catch((caught: unknown) => caught as Error);
	t.is((error as Error).message, 'failed to read dockerfile: open Dockerfile: no such file or directory');
	await t.notThrowsAsync(buildDockerfile(fakeClient({ locals: { dockerfile: { dockerfile: 'FROM scratch' } } })));
	const client = fakeClient({ locals: { dockerfile: { 'sub/My.Dockerfile': 'FROM scratch' } }, opts: { filename: 'sub/My.Dockerfile' } });
	await buildDockerfile(client);
	t.is(loadDefinition(client.solved[0] ?? marshal(imageState('x'))).vertices[0]?.name, '[internal] load build definition from sub/My.Dockerfile');
});

test('the excerpt of an error', async (t) => {
	const error = await failure('FROM base\nENV A=1\nENV B=2\nCOPY --chmod=9 \\\n  a b\nENV C=3\nENV D=4\nENV E=5\n');
	t.is(error instanceof FrontendError && error.sources[0] ? formatSource(error.sources[0]) : '', [
		'Dockerfile:4', '--------------------', '   3 |     ENV B=2', '   4 | >>> COPY --chmod=9 \\', '   5 | >>>   a b', '   6 |     ENV C=3', '--------------------', '',
	].join('\n'));
});

test('image configs that are none', (t) => {
	for (const bad of ['', '[]', '{"config":[]}', '{"config":{"Env":"x"}}', '{"history":{}}', '{"rootfs":{"diff_ids":[1]}}']) {
		t.throws(() => decodeImage(Buffer.from(bad)), { message: /^failed to parse image config: / }, bad);
	}
	const times = ['2024-01-01T00:00:00.120Z', '2024-01-01T00:00:00.000+00:00', '2024-01-01T00:00:10Z', '2024-01-01T00:00:00.5+02:00'];
	t.deepEqual(decodeImage(Buffer.from(JSON.stringify({ history: times.map((created) => ({ created })) }))).history?.map(({ created }) => created), [
		'2024-01-01T00:00:00.12Z', '2024-01-01T00:00:00Z', '2024-01-01T00:00:10Z', '2024-01-01T00:00:00.5+02:00',
	]);
	t.like(decodeImage(Buffer.from('{"architecture":"a","os":"b","docker_version":"x","config":null}')), { architecture: 'a', config: {} });
});
