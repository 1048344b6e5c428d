// Runs a container that sleeps, for a test that kills this process: node runtime-victim.js INSTANCE ROOTFS SECONDS
import { Runtime } from '../../src/runtime/index.js';

const [instance = '', rootfs = '', seconds = ''] = process.argv.slice(2);
process.stdout.write('start\n');
await new Runtime(instance).run({
	rootfs,
	args: ['/bin/sh', '-c', `sleep ${seconds} & echo up; sleep ${seconds}`],
	env: ['PATH=/bin'],
	cwd: '/',
	user: '',
	mounts: [],
	network: 'none',
	security: 'sandbox',
	extraHosts: [],
	ulimits: [],
	onOutput: () => { process.stdout.write('up\n'); },
});
