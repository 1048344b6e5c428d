// What source policies make of sources.
import test from 'ava';
import { SourcePolicies } from '../../src/builder/source-policy.js';
import { AttrMatch, MatchType, Policy, PolicyAction } from '../../src/gateway/index.js';
import type { SourceOp } from '../../src/llb/index.js';

type Rules = Parameters<typeof Policy.create>[0] extends { rules?: infer R } | undefined ? R : never;

const { ALLOW, DENY, CONVERT } = PolicyAction;
const policies = (...rules: readonly Rules[]): SourcePolicies => new SourcePolicies(rules.map((list) => Policy.create({ version: 1, rules: list })));
const source = (identifier: string, attrs: Readonly<Record<string, string>> = {}): SourceOp => ({ identifier, attrs: new Map(Object.entries(attrs)) });
const alpine = 'docker-image://docker.io/library/alpine:latest';

test('without a policy sources are what they are', (t) => {
	const given = source('docker-image://alpine');
	t.is(policies().apply(given), given);
	t.is(policies().fingerprint, '');
});

test('the last rule that matches allows or denies', (t) => {
	const all = { action: DENY, selector: { identifier: '*' } };
	const some = { action: ALLOW, selector: { identifier: 'docker-image://docker.io/library/*' } };
	t.is(policies([all, some]).apply(source('docker-image://alpine')).identifier, alpine);
	t.throws(() => policies([some, all]).apply(source(alpine)), { message: `error evaluating the source policy: source "${alpine}" denied by policy: source denied by policy` });
	t.throws(() => policies([all, some]).apply(source('https://example.com/')), { message: /denied by policy/ });
	const directory = { action: DENY, selector: { identifier: 'git://host/repo.git#main:dir', matchType: MatchType.EXACT } };
	for (const way of ['dir', '../dir', './x/../dir/']) t.throws(() => policies([directory]).apply(source(`git://host/repo.git#main:${way}`)), { message: /denied by policy/ }, way);
	t.is(policies([directory]).apply(source('git://host/repo.git#main:other')).identifier, 'git://host/repo.git#main:other');
});

test('a source is converted by name, by what a wildcard or a group stands for, and by attributes', (t) => {
	const convert = (matchType: MatchType, identifier: string, to: string, given: string): string => (
		policies([{ action: CONVERT, selector: { identifier, matchType }, updates: { identifier: to } }]).apply(source(given)).identifier
	);
	t.is(convert(MatchType.EXACT, alpine, `${alpine}@sha256:${'a'.repeat(64)}`, 'docker-image://alpine'), `${alpine}@sha256:${'a'.repeat(64)}`);
	t.is(convert(MatchType.WILDCARD, 'docker-image://docker.io/library/golang:*', 'docker-image://docker.io/library/go:${1}-alpine', 'docker-image://golang:1.19'), 'docker-image://docker.io/library/go:1.19-alpine');
	t.is(convert(MatchType.REGEX, '^https://(?P<host>[^/]+)/(.*)$', 'http://mirror/${host}/$2?$$', 'https://example.com/a/b'), 'http://mirror/example.com/a/b?$');
	t.is(convert(MatchType.EXACT, 'https://example.com/*', 'x', 'https://example.com/a'), 'https://example.com/a');
	const sum = { 'http.checksum': `sha256:${'b'.repeat(64)}` };
	const checked = policies([{ action: CONVERT, selector: { identifier: 'https://example.com/a' }, updates: { attrs: new Map(Object.entries(sum)) } }]).apply(source('https://example.com/a'));
	t.deepEqual([checked.identifier, Object.fromEntries(checked.attrs)], ['https://example.com/a', sum]);
});

test('constraints look at attributes', (t) => {
	const denied = (condition: AttrMatch, value: string): boolean => {
		try {
			policies([{ action: DENY, selector: { identifier: '*', constraints: [{ key: 'k', value, condition }] } }]).apply(source('https://a/', { k: 'value' }));
			return false;
		} catch {
			return true;
		}
	};
	t.deepEqual([denied(AttrMatch.EQUAL, 'value'), denied(AttrMatch.EQUAL, 'other'), denied(AttrMatch.NOTEQUAL, 'other'), denied(AttrMatch.MATCHES, '^va'), denied(AttrMatch.MATCHES, '^x')], [true, false, true, true, false]);
});

test('policies that make no sense, never end, or take for ever are errors', (t) => {
	t.throws(() => policies([{ action: CONVERT }]), { message: 'invalid nil selector in policy' });
	t.throws(() => policies([{ action: CONVERT, selector: { identifier: alpine } }]).apply(source(alpine)), { message: /missing destination for convert rule/ });
	t.throws(() => policies([{ action: 9000 as PolicyAction, selector: { identifier: alpine } }]).apply(source(alpine)), { message: /unknown type/ });
	t.throws(() => policies([{ action: CONVERT, selector: { identifier: 'https://*' }, updates: { identifier: 'https://${1}x' } }]).apply(source('https://a/')), { message: /too many mutations on a single source/ });
	t.throws(() => policies([{ action: DENY, selector: { identifier: '(', matchType: MatchType.REGEX } }]).apply(source(alpine)), { message: /invalid regex/ });
	t.throws(() => policies([{ action: DENY, selector: { identifier: '**' } }]).apply(source(alpine)), { message: /invalid wildcard/ });
	t.throws(() => policies([{ action: DENY, selector: { identifier: '^(a+)+$', matchType: MatchType.REGEX } }]).apply(source(`https://${'a'.repeat(60)}!`.replace('https://', ''))), { message: /timed out/ });
});
