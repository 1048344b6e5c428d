// The runtime room's pure parts: users, resolv.conf, hosts, seccomp, quoting.
import test from 'ava';
import { defaultCapabilities } from '../../src/runtime/capabilities.js';
import { ExitError } from '../../src/runtime/exit-error.js';
import { goQuote } from '../../src/runtime/go-quote.js';
import { hostsFile } from '../../src/runtime/hosts.js';
import { resolvConf, sourcePath } from '../../src/runtime/resolv-conf.js';
import { defaultSeccompProfile } from '../../src/runtime/seccomp.js';
import { needsUserFiles, resolveUser } from '../../src/runtime/user.js';

const passwd = [
	'root:x:0:0:root:/root:/bin/sh',
	'daemon:x:1:1::/:',
	'',
	'  app:x:1000:1001:App:/home/app:/bin/sh  ',
	'app:x:2000:2000:second of the name::',
	'broken:x:notanumber:7',
	'1005:x:33:44::/:',
].join('\n');
const group = ['root:x:0:', '# comment:x:9:app', 'wheel:x:10:root,app', 'app:x:1001:', 'docker:x:999:app', 'empty:x:50'].join('\n');

const users: readonly (readonly [string, number, number, readonly number[]])[] = [
	['', 0, 0, [0, 10]],
	['root', 0, 0, [0, 10]],
	['app', 1000, 1001, [1001, 10, 999]],
	['1000', 1000, 1001, [1001, 10, 999]],
	['app:docker', 1000, 999, [999]],
	['app:77', 1000, 77, [77]],
	['1000:1000', 1000, 1000, [1000]],
	['root:root', 0, 0, [0]],
	['4000000000:4294967295', 4000000000, 4294967295, [4294967295]],
	['555', 555, 0, [0]],
	['1005', 1005, 0, [0]],
	['broken', 0, 7, [7]],
	[':docker', 0, 999, [999]],
];
for (const [spec, uid, gid, additionalGids] of users) {
	test(`user "${spec}"`, (t) => {
		t.deepEqual(resolveUser(spec, passwd, group), { uid, gid, additionalGids });
	});
}

test('users that do not exist have BuildKit\'s messages', (t) => {
	const message = (spec: string): string => t.throws(() => resolveUser(spec, passwd, group)).message;
	t.is(message('nosuch'), 'unable to find user nosuch: no matching entries in passwd file');
	t.is(message('root:nosuch'), 'unable to find group nosuch: no matching entries in group file');
	t.is(message('2147483648'), 'uids and gids must be in range 0-2147483647');
	t.is(message('-1'), 'uids and gids must be in range 0-2147483647');
	t.is(message('app:99999999999'), 'uids and gids must be in range 0-2147483647');
});

test('an image without passwd and group knows only numbers, and root by default', (t) => {
	t.deepEqual(resolveUser('', undefined, undefined), { uid: 0, gid: 0, additionalGids: [0] });
	t.deepEqual(resolveUser('12', undefined, undefined), { uid: 12, gid: 0, additionalGids: [0] });
	t.is(t.throws(() => resolveUser('root', undefined, undefined)).message, 'unable to find user root: no matching entries in passwd file');
	t.true(needsUserFiles('12'));
	t.false(needsUserFiles('12:13'));
});

test('resolv.conf without loopback servers', (t) => {
	const host = '# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver nonsense\nnameserver ::1\nnameserver fe80::1%eth0\nsearch a.example\nsearch b.example c.example\noptions ndots:1\noptions edns0\nsortlist 1.2.3.4\n; more\n';
	t.is(resolvConf(host, 'default'), 'nameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch b.example c.example\noptions ndots:1 edns0\nsortlist 1.2.3.4\n');
	t.is(resolvConf(host, 'host'), 'nameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver ::1\nnameserver fe80::1%eth0\nsearch b.example c.example\noptions ndots:1 edns0\nsortlist 1.2.3.4\n');
});

test('resolv.conf falls back to public servers', (t) => {
	const fallback = 'nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n';
	t.is(resolvConf('nameserver 127.0.1.1\nnameserver 0:0:0:0:0:0:0:1\n', 'default'), fallback);
	t.is(resolvConf('', 'host'), fallback);
	t.is(resolvConf('nameserver 127.0.1.1\n', 'host'), 'nameserver 127.0.1.1\n');
});

test('systemd-resolved\'s own file is taken where its stub cannot be reached', (t) => {
	t.is(sourcePath('nameserver 127.0.0.53\n', 'default'), '/run/systemd/resolve/resolv.conf');
	t.is(sourcePath('nameserver 127.0.0.53\n', 'host'), '/etc/resolv.conf');
	t.is(sourcePath('nameserver 127.0.0.53\nnameserver 1.1.1.1\n', 'none'), '/etc/resolv.conf');
});

test('hosts', (t) => {
	t.is(
		hostsFile('buildkitsandbox', [{ host: 'a', ip: '1.2.3.4' }, { host: 'b', ip: '::2' }]),
		'127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n1.2.3.4\ta\n::2\tb\n',
	);
});

test('the seccomp profile follows machine and capabilities', (t) => {
	const names = (profile: ReturnType<typeof defaultSeccompProfile>, errno?: number): Set<string> =>
		new Set(profile.syscalls.filter((rule) => rule.errnoRet === errno).flatMap((rule) => rule.names));
	const x64 = defaultSeccompProfile(defaultCapabilities, 'x64', true);
	t.deepEqual(x64.architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32']);
	t.is(x64.defaultAction, 'SCMP_ACT_ERRNO');
	t.true(names(x64).has('arch_prctl'));
	t.true(names(x64).has('chroot'));
	t.false(names(x64).has('unshare'));
	t.false(names(x64).has('reboot'));
	t.deepEqual([...names(x64, 38)], ['clone3']);
	t.deepEqual(x64.syscalls.find((rule) => rule.names.includes('clone'))?.args, [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 2114060288, valueTwo: 0 }]);

	const arm = defaultSeccompProfile([...defaultCapabilities, 'CAP_SYS_ADMIN'], 'arm64', false);
	t.deepEqual(arm.architectures, ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']);
	t.true(names(arm).has('unshare'));
	t.true(names(arm).has('set_tls'));
	t.false(names(arm).has('arch_prctl'));
	t.is(names(arm, 38).size, 0);
	t.deepEqual(defaultSeccompProfile([], 'x64', false).architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
});

test('Go quoting', (t) => {
	t.is(goQuote('a "b" \\ \t\n\x01\x7f é 漢 \u200b 😀'), '"a \\"b\\" \\\\ \\t\\n\\x01\\x7f é 漢 \\u200b 😀"');
});

test('exit errors', (t) => {
	const failed = new ExitError(['/bin/sh', '-c', 'false'], { exitCode: 1, oomKilled: false });
	t.is(failed.message, 'process "/bin/sh -c false" did not complete successfully: exit code: 1');
	t.is(failed.signal, undefined);
	const killed = new ExitError(['x'], { exitCode: 137, oomKilled: true });
	t.is(killed.message, 'process "x" did not complete successfully: cannot allocate memory');
	t.is(killed.signal, 9);
});
