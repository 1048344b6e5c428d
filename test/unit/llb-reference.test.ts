import test from 'ava';
import {
	basePath, checkDigest, cleanPath, compareBytes, familiarReference, formatPlatform, formatPlatformFull, formatReference, joinPath, normalizePlatform, parsePlatform, parseReference, samePlatform, withDefaultTag,
} from '../../src/llb/index.js';

const digest = `sha256:${'a'.repeat(64)}`;

test('references, in full and as people write them', (t) => {
	const cases: Record<string, [full: string, familiar: string]> = {
		ubuntu: ['docker.io/library/ubuntu', 'ubuntu'],
		'ubuntu:22.04': ['docker.io/library/ubuntu:22.04', 'ubuntu:22.04'],
		'a/b': ['docker.io/a/b', 'a/b'],
		'docker.io/ubuntu': ['docker.io/library/ubuntu', 'ubuntu'],
		'index.docker.io/a/b': ['docker.io/a/b', 'a/b'],
		'localhost/a': ['localhost/a', 'localhost/a'],
		'127.0.0.1:5000/busybox': ['127.0.0.1:5000/busybox', '127.0.0.1:5000/busybox'],
		'[::1]:5000/a:b': ['[::1]:5000/a:b', '[::1]:5000/a:b'],
		'Host/a': ['Host/a', 'Host/a'],
		[`x:1@${digest}`]: [`docker.io/library/x:1@${digest}`, `x:1@${digest}`],
		'a/b__c--d.e': ['docker.io/a/b__c--d.e', 'a/b__c--d.e'],
	};
	for (const [text, [full, familiar]] of Object.entries(cases)) {
		const reference = parseReference(text);
		t.is(formatReference(reference), full, text);
		t.is(familiarReference(reference), familiar, text);
	}
	t.is(formatReference(withDefaultTag(parseReference('a'))), 'docker.io/library/a:latest');
	t.is(formatReference(withDefaultTag(parseReference(`a@${digest}`))), `docker.io/library/a@${digest}`);
});

test('texts that are no references', (t) => {
	const cases: Record<string, string> = {
		'': 'invalid reference format',
		'a b': 'invalid reference format',
		'a:': 'invalid reference format',
		'a@sha256:00': 'invalid reference format',
		'-a': 'invalid reference format',
		'A/b/C': 'invalid reference format: repository name (b/C) must be lowercase',
		Ubuntu: 'invalid reference format: repository name (library/Ubuntu) must be lowercase',
		['a'.repeat(64)]: `invalid repository name (${'a'.repeat(64)}), cannot specify 64-byte hexadecimal strings`,
		[`x/${'a'.repeat(256)}`]: 'repository name must not be more than 255 characters',
		[`a@sha256:${'a'.repeat(40)}`]: 'invalid checksum digest length',
		[`a@md5:${'a'.repeat(32)}`]: 'unsupported digest algorithm',
	};
	for (const [text, message] of Object.entries(cases)) t.throws(() => parseReference(text), { message }, text);
});

test('digests', (t) => {
	t.notThrows(() => checkDigest(digest));
	t.throws(() => checkDigest('sha256:'), { message: 'invalid checksum digest format' });
	t.throws(() => checkDigest('foo'), { message: 'invalid checksum digest format' });
	t.throws(() => checkDigest(`sha256:${'A'.repeat(64)}`), { message: 'invalid checksum digest format' });
	t.throws(() => checkDigest('md5:00'), { message: 'unsupported digest algorithm' });
});

test('platforms', (t) => {
	const cases: Record<string, string> = {
		'linux/x86_64': 'linux/amd64', 'linux/arm64/v8': 'linux/arm64', 'linux/arm': 'linux/arm/v7', 'linux/armhf': 'linux/arm/v7', 'linux/arm/6': 'linux/arm/v6',
		'macos/aarch64': 'darwin/arm64', 'linux/386': 'linux/386', 'linux/amd64/v2': 'linux/amd64/v2', 'windows(10.0.1+win32k)/amd64': 'windows(10.0.1+win32k)/amd64',
	};
	for (const [text, expected] of Object.entries(cases)) t.is(formatPlatformFull(normalizePlatform(parsePlatform(text))), expected, text);
	t.is(parsePlatform('arm64').os, 'linux');
	t.is(parsePlatform('windows').os, 'windows');
	t.is(formatPlatform(parsePlatform('windows(10.0.1)/amd64')), 'windows/amd64');
	t.true(samePlatform(parsePlatform('linux/arm'), parsePlatform('linux/arm')));
	const bad: Record<string, RegExp> = {
		foo: /^"foo": unknown operating system or architecture: invalid argument$/, 'linux/*': /wildcards not yet supported/, 'a/b/c/d': /cannot parse platform specifier/,
		'linux/a b': /^"a b" is an invalid component of "linux\/a b": platform specifier component must match /, '/amd64': /is an invalid OS component of/,
	};
	for (const [text, message] of Object.entries(bad)) t.throws(() => parsePlatform(text), { message }, text);
});

test('paths as Go has them', (t) => {
	t.deepEqual(['', '/', 'a/', '/a/../../b', './a//b', '..'].map(cleanPath), ['.', '/', 'a', '/b', 'a/b', '..']);
	t.is(joinPath('', ''), '');
	t.is(joinPath('/', 'a/', '../b/'), '/b');
	t.deepEqual(['', '/', '/a/b/', 'x'].map(basePath), ['.', '/', 'b', 'x']);
});

test('strings are sorted by their bytes', (t) => {
	t.deepEqual(['b', 'a', '\ud83d\ude00', '\uffee', 'ab', ''].sort(compareBytes), ['', 'a', 'ab', 'b', '\uffee', '\ud83d\ude00']);
});
