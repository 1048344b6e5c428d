#!/usr/bin/env node
// obd-image: for those who hold images and layers. Parses, calls, prints.
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { flatten, inspectLayer } from '../native/layers.js';
import { doctor } from './doctor.js';
import { registryFlags, storeFlags, withLayers, type RegistryFlags } from './image/options.js';
import { convert, mount, recordTrace, run } from './image/run.js';
import { formatBytes, formatLayerReport } from './layer-report.js';

/** Exit codes: 0 all well, 1 failed or problems found, 2 wrong usage. */
const FAILED = 1;
const USAGE = 2;

async function inspect(names: readonly string[], json: boolean, flags: RegistryFlags): Promise<void> {
	await withLayers(names, flags, async (layers) => {
		const reports = [];
		for (const { name, file } of layers) {
			const report = await inspectLayer(file);
			if (report.problems.length > 0) process.exitCode = FAILED;
			if (json) reports.push({ name, ...report });
			else console.log(formatLayerReport(name, report));
		}
		if (json) console.log(JSON.stringify(reports, null, 2));
	});
}

async function flattenTo(names: readonly string[], output: string, flags: RegistryFlags): Promise<void> {
	await withLayers(names, flags, async (layers) => {
		const result = await flatten(layers.map(({ file }) => file), output);
		console.log(`${output}: disk of ${formatBytes(result.size)}, ${formatBytes(result.written)} written`);
	});
}

await yargs(hideBin(process.argv))
	// What follows -- is the container's, flags and all.
	.parserConfiguration({ 'populate--': true })
	.scriptName('obd-image')
	.usage('$0 COMMAND\n\nLooks into overlaybd images and layers, takes them apart, and runs them.')
	.command('inspect <layer..>', 'show headers, segments and uuids of layers, and check every checksum', (y) => registryFlags(y)
		.positional('layer', { type: 'string', array: true, demandOption: true, describe: 'layer blobs, DATA:INDEX for a writable layer, ARCHIVE+TARGET for a turboOCI one, or an image reference' })
		.option('json', { type: 'boolean', default: false, describe: 'print a JSON array, one report a layer' }),
	(argv) => inspect(argv.layer, argv.json, argv))
	.command('flatten <layer..>', 'write the virtual disk of a stack of layers as a sparse raw file', (y) => registryFlags(y)
		.positional('layer', { type: 'string', array: true, demandOption: true, describe: 'layer blobs, bottom first; DATA:INDEX for a writable layer, ARCHIVE+TARGET for a turboOCI one; or an image reference' })
		.option('output', { alias: 'o', type: 'string', demandOption: true, requiresArg: true, describe: 'the disk; replaced when it exists' }),
	(argv) => flattenTo(argv.layer, argv.output, argv))
	.command('run <image> [args..]', 'run an image straight from its registry, as a container', (y) => storeFlags(y)
		.positional('image', { type: 'string', demandOption: true, describe: 'an image reference' })
		.positional('args', { type: 'string', array: true, default: [] as string[], describe: 'replaces the image\'s command' }),
	(argv) => run(argv.image, [...argv.args, ...((argv['--'] as string[] | undefined) ?? [])], argv))
	.command('mount <image> <directory>', 'mount an image read-only until Ctrl-C', (y) => storeFlags(y)
		.positional('image', { type: 'string', demandOption: true, describe: 'an image reference' })
		.positional('directory', { type: 'string', demandOption: true, describe: 'made when missing' }),
	(argv) => mount(argv.image, argv.directory, argv))
	.command('record-trace <image> <target> [args..]', 'run an image and push it with a trace of what that read on top, for fast starts', (y) => storeFlags(y)
		.positional('image', { type: 'string', demandOption: true, describe: 'an overlaybd image' })
		.positional('target', { type: 'string', demandOption: true, describe: 'the reference to push to' })
		.positional('args', { type: 'string', array: true, default: [] as string[], describe: 'replaces the image\'s command' })
		.option('time', { type: 'number', default: 60, requiresArg: true, describe: 'record time in seconds' })
		.option('priority_list', { alias: 'priority-list', type: 'string', requiresArg: true, describe: 'a file that lists the files to be prefetched, instead of a run' }),
	(argv) => recordTrace(argv.image, argv.target, [...argv.args, ...((argv['--'] as string[] | undefined) ?? [])], argv))
	.command('convert <image> <target>', 'make an overlaybd image of an ordinary one and push it', (y) => storeFlags(y)
		.positional('image', { type: 'string', demandOption: true, describe: 'an image reference' })
		.positional('target', { type: 'string', demandOption: true, describe: 'the reference to push to' }),
	(argv) => convert(argv.image, argv.target, argv))
	.command('doctor', 'tell which device servers this host can use, and what the others lack', (y) => y,
	async () => { if (!(await doctor())) process.exitCode = FAILED; })
	.demandCommand(1, 'Which command?')
	.strict()
	.fail((message, error) => {
		console.error(`obd-image: ${error ? error.message : message}`);
		if (!error) console.error('Try obd-image --help');
		process.exit(error ? FAILED : USAGE);
	})
	.parseAsync();
