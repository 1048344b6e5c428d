// Makes a real base image: Debian's minbase by debootstrap, pushed as an ordinary one-layer gzip OCI image.
// Usage: base-image.js --work DIR --ref HOST/REPOSITORY:TAG [--include PACKAGE,...]. What is there already stays.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { document, encodeImageConfig, encodeManifest, mediaTypes, newImageConfig, defaultPlatform, parseReference, withLayers } from '../../src/image/index.js';
import { writeChangeset } from '../../src/native/files.js';
import { bufferSource, fileSource, pushImage, RegistryClient, RegistryError } from '../../src/registry/index.js';

/** The mirror this machine installs its own packages from. */
function mirror(): string {
	const sites = execFileSync('apt-get', ['indextargets', '--format', '$(SITE) $(ORIGIN) $(COMPONENT)'], { encoding: 'utf8' });
	const main = sites.split('\n').find((line) => line.endsWith(' Debian main'));
	const site = main?.split(' ')[0];
	if (site === undefined || site === '') throw new Error('apt has no Debian source: run apt-get update');
	return site.replace(/^mirror\+/, '');
}

function codename(): string {
	return /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable';
}

/** The root file system below `work`, made by debootstrap unless a whole one is there. */
function debootstrap(work: string, include: string): string {
	const root = path.join(work, `minbase${include === '' ? '' : `-${include.replaceAll(',', '-')}`}`);
	if (existsSync(root)) return root;
	const fresh = `${root}.new`;
	rmSync(fresh, { recursive: true, force: true });
	mkdirSync(work, { recursive: true });
	console.log(`debootstrap ${codename()} ${root}`);
	const packages = include === '' ? [] : [`--include=${include}`];
	try {
		execFileSync('debootstrap', ['--variant=minbase', ...packages, codename(), fresh, mirror()], { stdio: ['ignore', 'pipe', 'inherit'] });
	} catch (error) {
		// Its errors are the last lines of its standard output.
		const said = String((error as { readonly stdout?: unknown }).stdout).trim().split('\n').slice(-5).join('\n');
		throw new Error(`debootstrap failed:\n${said}\n(more in ${fresh}/debootstrap/debootstrap.log)`, { cause: error });
	}
	execFileSync('chroot', [fresh, 'apt-get', 'clean']);
	writeFileSync(path.join(fresh, 'etc/resolv.conf'), '');
	renameSync(fresh, root);
	return root;
}

async function isPushed(client: RegistryClient, reference: string): Promise<boolean> {
	try {
		await client.head(reference);
		return true;
	} catch (error) {
		if (error instanceof RegistryError && error.kind === 'not-found') return false;
		throw error;
	}
}

const { values } = parseArgs({ options: { work: { type: 'string' }, ref: { type: 'string' }, include: { type: 'string', default: '' } } });
const { work, ref, include } = values;
if (work === undefined || ref === undefined) throw new Error('usage: base-image.js --work DIR --ref REFERENCE [--include PACKAGE,...]');

const client = new RegistryClient();
if (await isPushed(client, ref)) {
	console.log(`${ref} is in the registry already`);
} else {
	const root = debootstrap(work, include);
	const blob = path.join(work, 'layer.tar.gz');
	const layer = await writeChangeset({ upper: root, out: blob, compression: 'gzip' });
	const created = new Date().toISOString();
	const config = withLayers({ ...newImageConfig(defaultPlatform()), config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['bash'] } }, [{ diffId: layer.diffId, createdAt: created, description: 'debootstrap --variant=minbase' }]);
	const configDocument = document(mediaTypes.ociConfig, encodeImageConfig(config));
	const layerDescriptor = { mediaType: mediaTypes.ociLayerGzip, digest: layer.digest, size: layer.size };
	const manifest = encodeManifest({ mediaType: mediaTypes.ociManifest, config: configDocument.descriptor, layers: [layerDescriptor] });
	const blobs = [
		{ descriptor: layerDescriptor, source: fileSource(blob, layer.size) },
		{ descriptor: configDocument.descriptor, source: bufferSource(configDocument.bytes) },
	];
	await pushImage(client.repository(ref), blobs, [manifest], [parseReference(ref).tag ?? 'latest']);
	rmSync(blob);
	console.log(`pushed ${ref}: one gzip layer of ${(layer.size / 1e6).toFixed(1)} MB`);
}
client.close();
