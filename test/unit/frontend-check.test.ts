import test from 'ava';
import { buildDockerfile, checkDockerfile, formatOutline, formatTargets, formatWarnings, handleSubrequest, listTargets, missingFrontendCap, outlineDockerfile } from '../../frontend/index.js';
import { fakeClient } from './frontend-harness.js';

const image = { architecture: 'amd64', os: 'linux', config: { Env: ['PATH=/bin'] }, rootfs: { type: 'layers', diff_ids: ['sha256:1b945cc0041885df135913b21b0d1f50147d6951ec5b97b2fe9009396e16b467'] } };

function client(dockerfile: string, opts: Record<string, string> = {}, ignore = ''): ReturnType<typeof fakeClient> {
	return fakeClient({
		locals: { dockerfile: { Dockerfile: dockerfile }, context: ignore === '' ? {} : { '.dockerignore': ignore } },
		images: { 'docker.io/library/base:latest': image, 'docker.io/library/arm:latest': { ...image, architecture: 'arm64' } },
		opts,
	});
}

/** Dockerfile, what it is warned of with the line, and options. */
const warned: readonly (readonly [dockerfile: string, warnings: readonly string[], opts?: Record<string, string>, ignore?: string])[] = [
	['FROM base AS Bad', ['1 StageNameCasing: Stage name \'Bad\' should be lowercase']],
	['FROM base as a', ['1 FromAsCasing: \'as\' and \'FROM\' keywords\' casing do not match']],
	['from base as a', []],
	['FROM base\nRUN a \\\n\n b', ['4 NoEmptyContinuation: Empty continuation line']],
	['FROM base\nrun a\nRUN b', ['2 ConsistentInstructionCasing: Command \'run\' should match the case of the command majority (uppercase)']],
	['from base\nrun a\nCMD ["b"]', ['3 ConsistentInstructionCasing: Command \'CMD\' should match the case of the command majority (lowercase)']],
	['FROM base\nRun a', ['2 ConsistentInstructionCasing: Command \'Run\' should match the case of the command majority (uppercase)']],
	['FROM base AS a\nFROM base AS a', ['2 DuplicateStageName: Duplicate stage name "a", stage names should be unique']],
	['FROM base AS scratch', ['1 ReservedStageName: Stage name should not use the same name as reserved stage "scratch"']],
	['FROM base\nCMD a', ['2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals']],
	['FROM base\nSHELL ["x"]\nCMD a', []],
	['FROM base\nMAINTAINER me', ['2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label']],
	['ARG VERSION=1\nFROM base$VERSIO', ['2 UndefinedArgInFrom: FROM argument \'VERSIO\' is not declared (did you mean VERSION?)']],
	['FROM base\nWORKDIR a\nWORKDIR b', ['2 WorkdirRelativePath: Relative workdir "a" can have unexpected results if the base image changes']],
	['FROM base\nENV FOO=1\nCOPY $FO$bar /x', ['3 UndefinedVar: Usage of undefined variable \'$FO\' (did you mean $FOO?)', '3 UndefinedVar: Usage of undefined variable \'$bar\'']],
	['FROM base\nARG foo\nCOPY a$foo /x', []],
	['FROM base\nENTRYPOINT ["a"]\nENTRYPOINT ["b"]', ['2 MultipleInstructionsDisallowed: Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used']],
	['FROM base\nENV a b\nLABEL c d', [
		'2 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format', '3 LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format',
	]],
	['FROM arm', ['1 InvalidBaseImagePlatform: Base image arm was pulled with platform "linux/arm64", expected "linux/amd64" for current build']],
	['FROM --platform=$TARGETPLATFORM base', ['1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior']],
	['FROM --platform=linux/amd64 base', ['1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"']],
	['FROM --platform=linux/amd64 base AS x-amd64', []],
	['FROM base\nARG API_KEY\nENV PUBLIC_KEY=x TOKEN=y', [
		'2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY")', '3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "TOKEN")',
	]],
	['ARG I\nFROM $I', ['2 InvalidDefaultArgInFrom: Default value for ARG $I results in empty or invalid base image name'], { 'build-arg:I': 'base' }],
	['FROM base\nCOPY a.x /\nADD . /', ['2 CopyIgnoredFile: Attempting to Copy file "a.x" that is excluded by .dockerignore'], {}, '*.x'],
	['FROM base\nCOPY . /', ['2 CopyIgnoredFile: Attempting to Copy file "." that is excluded by .dockerignore'], {}, '**'],
	['FROM base\nCOPY a.x /', [], {}, '*.x\n!b.x'],
	['FROM base\nEXPOSE 80/TCP 1.2.3.4:8080:80', [
		'2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \'1.2.3.4:8080:80\'', '2 ExposeProtoCasing: Defined protocol \'80/TCP\' in EXPOSE instruction should be lowercase',
	]],
	['# b is it\nFROM base AS a', []],
	['# check=experimental=all\n# b is it\nFROM base AS a', ['3 InvalidDefinitionDescription: Comment for FROM should follow the format: `# a <description>`']],
	['# check=skip=all\nFROM base as A', []],
	['# check=skip=FromAsCasing\nFROM base as A', ['2 StageNameCasing: Stage name \'A\' should be lowercase']],
	['FROM base\n# check=skip=JSONArgsRecommended\nCMD a\nENTRYPOINT b', ['4 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals']],
	['FROM base as a', [], { 'build-arg:BUILDKIT_DOCKERFILE_CHECK': 'skip=all' }],
	['FROM base AS a\nCMD x\nFROM base', ['2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals']],
	['FROM base AS a\nCMD x\nFROM base AS b', [], { target: 'b' }],
];

for (const [dockerfile, expected, opts, ignore] of warned) {
	test(`${dockerfile.replace(/\n/g, '\u23ce')}${opts ? ` ${JSON.stringify(opts)}` : ''}${ignore ? ` (${ignore})` : ''}`, async (t) => {
		const { warnings } = await checkDockerfile(client(dockerfile, opts, ignore));
		t.deepEqual(warnings.map(({ rule, message, location }) => `${location.start} ${rule.name}: ${message}`).sort(), [...expected].sort());
	});
}

test('warnings of a build', async (t) => {
	const one = client('FROM base\nCMD a\n', { platform: 'linux/amd64,linux/arm64' });
	await buildDockerfile(one);
	t.deepEqual(one.warnings.filter(({ short }) => short.startsWith('JSON')).map(({ short, level, url, ranges }) => [short, level, url, ranges]), [[
		'JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)', 1,
		'https://docs.docker.com/go/dockerfile/rule/json-args-recommended/', [{ start: { line: 2, character: 0 }, end: { line: 2, character: 0 } }],
	]], 'once, however many platforms');
	t.regex(one.warnings[0]?.vertex ?? '', /^sha256:/);
});

test('what a check prints', async (t) => {
	const result = await checkDockerfile(client('FROM base\nCMD a\nFROM base as x\n'));
	t.is(formatWarnings(result), [
		'', 'WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/',
		'JSON arguments recommended for CMD to prevent unintended behavior related to OS signals',
		'Dockerfile:2', '--------------------', '   1 |     FROM base', '   2 | >>> CMD a', '   3 |     FROM base as x', '   4 |     ', '--------------------',
		'', 'WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/', '\'as\' and \'FROM\' keywords\' casing do not match',
		'Dockerfile:3', '--------------------', '   1 |     FROM base', '   2 |     CMD a', '   3 | >>> FROM base as x', '   4 |     ', '--------------------', '',
	].join('\n'));
});

test('a check tells of the error the build would end with', async (t) => {
	const { warnings, error } = await checkDockerfile(client('FROM base as a\nCOPY --from=b x y\nFROM base AS b\nCOPY --from=a x y\n'));
	t.is(warnings.length, 1);
	t.deepEqual(error, { message: 'circular dependency detected on stage: a', locations: [{ start: 2, end: 2 }, { start: 4, end: 4 }] });
	t.deepEqual((await checkDockerfile(client('FRO base'))).error, { message: 'dockerfile parse error on line 1: unknown instruction: FRO (did you mean FROM?)', locations: [{ start: 1, end: 1 }] });
});

function decode(metadata: ReadonlyMap<string, Uint8Array> | undefined, name: string): string {
	return Buffer.from(metadata?.get(name) ?? []).toString();
}

test('frontend.lint', async (t) => {
	const metadata = await handleSubrequest(client('FROM base\nCMD a\n', { requestid: 'frontend.lint' }));
	t.is(decode(metadata, 'result.statuscode'), '1');
	const json = JSON.parse(decode(metadata, 'result.json')) as { warnings: unknown[]; sources: { data: string }[] };
	t.like(json.warnings[0], { ruleName: 'JSONArgsRecommended', location: { ranges: [{ start: { line: 2 }, end: { line: 2 } }] } });
	t.is(Buffer.from(json.sources[0]?.data ?? '', 'base64').toString(), 'FROM base\nCMD a\n');
	const clean = await handleSubrequest(client('FROM base\n', { requestid: 'frontend.lint' }));
	t.is(decode(clean, 'result.statuscode'), '0');
	t.is((JSON.parse(decode(clean, 'result.json')) as { warnings: unknown }).warnings, null);
});

const outlined = `ARG UNUSED=1
# V the version
ARG V=1
ARG W=$V-x
FROM base:$W AS one
# X for one
ARG X=a
RUN --mount=type=secret,id=s,required --mount=type=ssh true

# two the second one
FROM base AS two
ARG Y
COPY --from=one /a /b
`;

test('frontend.outline: what the target and its sources take', async (t) => {
	const { images } = { images: { 'docker.io/library/base:latest': image, 'docker.io/library/base:2-x': image } };
	const make = (opts: Record<string, string>): ReturnType<typeof fakeClient> => fakeClient({ locals: { dockerfile: { Dockerfile: outlined } }, images, opts: { 'build-arg:V': '2', ...opts } });
	const outline = await outlineDockerfile(make({}));
	t.like(outline, { name: 'two', description: 'the second one' });
	t.deepEqual(outline.args.map(({ name, value, description, location }) => [name, value, description, location.start]), [
		['V', '2', 'the version', 3], ['W', '2-x', '', 4], ['X', 'a', 'for one', 7], ['Y', '', '', 12],
	]);
	t.deepEqual(outline.secrets.map(({ name, required }) => [name, required]), [['s', true]]);
	t.is(formatOutline(outline), [
		'TARGET:      two', 'DESCRIPTION: the second one', '',
		'BUILD ARG   VALUE   DESCRIPTION', 'V           2       the version', 'W           2-x     ', 'X           a       for one', 'Y                   ', '',
		'SECRET   REQUIRED', 's        true', '', 'SSH       REQUIRED', 'default   ', '', '',
	].join('\n'));
	const json = JSON.parse(decode(await handleSubrequest(make({ requestid: 'frontend.outline', target: 'one' })), 'result.json')) as Record<string, unknown>;
	t.deepEqual(json['ssh'], [{ name: 'default', location: { ranges: [{ start: { line: 8 }, end: { line: 8 } }] } }]);
});

test('frontend.targets', async (t) => {
	const list = await listTargets(client(outlined));
	t.deepEqual(list.targets.map(({ name, isDefault, base }) => [name, isDefault, base]), [['one', false, 'base:$W'], ['two', true, 'base']]);
	t.is(formatTargets(list), 'TARGET        DESCRIPTION\none           \ntwo (default) the second one\n');
	const metadata = await handleSubrequest(client('FROM a\n', { requestid: 'frontend.targets' }));
	t.is(decode(metadata, 'result.txt'), 'TARGET    DESCRIPTION\n(default) \n');
});

test('requests and capabilities nobody knows', async (t) => {
	t.is(await handleSubrequest(client('FROM a')), undefined);
	await t.throwsAsync(handleSubrequest(client('FROM a', { requestid: 'x' })), { message: 'unsupported request x' });
	t.regex(decode(await handleSubrequest(client('FROM a', { requestid: 'frontend.subrequests.describe' })), 'result.txt'), /^NAME +VERSION DESCRIPTION\noutline +1\.0\.0 +List/);
	t.is(missingFrontendCap({ 'frontend.caps': 'moby.buildkit.frontend.subrequests+forward,moby.buildkit.frontend.contexts' }), undefined);
	const missing = missingFrontendCap({ 'frontend.caps': 'x,y+forward' });
	t.is(missing?.error.message, 'unsupported frontend capability x');
	t.false(missing?.forward);
	t.true(missingFrontendCap({ 'frontend.caps': 'y+forward' })?.forward);
});
