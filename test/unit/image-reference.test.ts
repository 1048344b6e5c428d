import test from 'ava';
import { familiarReference, formatReference, parseReference, repositoryName, withDefaultTag, withDigest, withTag } from '../../src/image/index.js';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

const good: readonly (readonly [text: string, normalized: string, familiar: string])[] = [
	['alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
	['alpine:3.20', 'docker.io/library/alpine:3.20', 'alpine:3.20'],
	['index.docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
	['docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
	['docker.io/library/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
	['moby/buildkit:master', 'docker.io/moby/buildkit:master', 'moby/buildkit:master'],
	['docker.io/library/a/b', 'docker.io/library/a/b:latest', 'library/a/b:latest'],
	['localhost/x', 'localhost/x:latest', 'localhost/x:latest'],
	['localhost:5000/x/y:t', 'localhost:5000/x/y:t', 'localhost:5000/x/y:t'],
	['127.0.0.1:5000/base', '127.0.0.1:5000/base:latest', '127.0.0.1:5000/base:latest'],
	['[::1]:5000/base', '[::1]:5000/base:latest', '[::1]:5000/base:latest'],
	['ghcr.io/a/b__c/d-e', 'ghcr.io/a/b__c/d-e:latest', 'ghcr.io/a/b__c/d-e:latest'],
	['UPPER/x', 'UPPER/x:latest', 'UPPER/x:latest'],
	[`alpine@${digest}`, `docker.io/library/alpine@${digest}`, `alpine@${digest}`],
	[`alpine:3@${digest}`, `docker.io/library/alpine:3@${digest}`, `alpine:3@${digest}`],
	['a.b.c:80/d--e:1', 'a.b.c:80/d--e:1', 'a.b.c:80/d--e:1'],
];

for (const [text, normalized, familiar] of good) {
	test(`${text} is ${normalized}`, (t) => {
		const ref = withDefaultTag(parseReference(text));
		t.is(formatReference(ref), normalized);
		t.is(familiarReference(ref), familiar);
		t.deepEqual(parseReference(normalized), ref);
	});
}

const bad: readonly (readonly [text: string, message: string])[] = [
	['', 'invalid reference format'],
	[':tag', 'invalid reference format'],
	['a//b', 'invalid reference format'],
	['alpine:', 'invalid reference format'],
	['-x', 'invalid reference format'],
	['a_/b', 'invalid reference format'],
	['a___b', 'invalid reference format'],
	['alpine:-1', 'invalid reference format'],
	[`alpine:${'t'.repeat(129)}`, 'invalid reference format'],
	['alpine@sha256:123', 'invalid reference format'],
	['Alpine', 'invalid reference format: repository name (library/Alpine) must be lowercase'],
	['ghcr.io/A/b:x', 'invalid reference format: repository name (A/b) must be lowercase'],
	['a b', 'invalid reference format'],
	['http://x/y', 'invalid reference format'],
	[`alpine@sha256:${'0'.repeat(40)}`, 'invalid checksum digest length'],
	[`alpine@md5:${'0'.repeat(32)}`, 'unsupported digest algorithm'],
	[`alpine@sha256:${'A'.repeat(64)}`, 'invalid checksum digest format'],
	[`x.io/${'a'.repeat(256)}`, 'repository name must not be more than 255 characters'],
	['0'.repeat(64), `invalid repository name (${'0'.repeat(64)}), cannot specify 64-byte hexadecimal strings`],
	['a'.repeat(1_000_000), 'invalid reference format'],
	[`${'a.'.repeat(2000)}/`, 'invalid reference format'],
];

for (const [text, message] of bad) {
	test(`${JSON.stringify(text.slice(0, 60))} is refused: ${message.slice(0, 60)}`, (t) => {
		t.is(t.throws(() => parseReference(text)).message, message);
	});
}

test('tag and digest are put on a reference, and checked', (t) => {
	const ref = parseReference('alpine');
	t.is(repositoryName(ref), 'docker.io/library/alpine');
	t.is(formatReference(withDigest(withTag(ref, 'x'), digest)), `docker.io/library/alpine:x@${digest}`);
	t.throws(() => withTag(ref, 'a/b'), { message: 'invalid tag format' });
	t.throws(() => withDigest(ref, 'sha256:1'), { message: 'invalid checksum digest length' });
});

test('a reference with a digest gets no default tag', (t) => {
	t.is(formatReference(withDefaultTag(parseReference(`x.io/a@${digest}`))), `x.io/a@${digest}`);
});
