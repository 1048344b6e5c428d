import test from 'ava';
import { proxyFor } from '../../src/registry/proxy.js';

const environment = { HTTPS_PROXY: 'http://proxy.example:3128', http_proxy: 'user:pa%20ss@other.example:80', NO_PROXY: 'internal.example, .dots.example,*.stars.example,10.0.0.0/8,fd00::/8,exact.example:5000,192.168.1.1' };

const direct = [
	'https://127.0.0.1:5000/', 'http://localhost/', 'https://[::1]/', 'https://internal.example/', 'https://a.internal.example/', 'https://a.dots.example/',
	'https://b.stars.example/', 'https://10.1.2.3/', 'https://[fd00::1]/', 'https://exact.example:5000/', 'https://192.168.1.1/', 'https://INTERNAL.example/',
];
const proxied = ['https://registry.example/', 'https://dots.example/', 'https://notinternal.example/', 'https://11.1.2.3/', 'https://exact.example/', 'https://[fe00::1]/', 'https://192.168.1.11/'];

for (const url of direct) test(`${url} is reached directly`, (t) => t.is(proxyFor(new URL(url), environment), undefined));
for (const url of proxied) test(`${url} is reached through the proxy`, (t) => t.is(proxyFor(new URL(url), environment)?.host, 'proxy.example:3128'));

test('each scheme has its variable, in capitals or not', (t) => {
	t.is(proxyFor(new URL('http://registry.example/'), environment)?.username, 'user');
	t.is(proxyFor(new URL('https://registry.example/'), { https_proxy: 'http://p:1' })?.host, 'p:1');
	t.is(proxyFor(new URL('https://registry.example/'), { HTTP_PROXY: 'http://p:1' }), undefined);
	t.is(proxyFor(new URL('https://registry.example/'), { HTTPS_PROXY: 'http://p:1', NO_PROXY: '*' }), undefined);
});

test('a proxy that cannot be used is an error that keeps its password to itself', (t) => {
	t.throws(() => proxyFor(new URL('https://registry.example/'), { HTTPS_PROXY: 'socks5://user:secret@p:1' }), { message: 'HTTPS_PROXY must be an http:// URL, not socks5://***@p:1' });
	t.throws(() => proxyFor(new URL('https://registry.example/'), { HTTPS_PROXY: 'http://[x' }), { message: /HTTPS_PROXY must be/ });
});
