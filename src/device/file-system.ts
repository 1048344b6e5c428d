// The ext4 of disks that obd makes, and how the builder mounts them.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface FileSystemOptions {
	/** 8-4-4-4-12 hex. The default is the same for every disk: builds of the same input give the same bytes. */
	readonly uuid?: string;
}

const defaultUuid = '0bd00000-0000-4000-8000-000000000001';

/** Known to every kernel since 4.5. No journal: a layer is either whole or thrown away. */
const features = 'none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum';

/**
 * Makes an ext4 on a device that reads as zeros. Nothing is left for the kernel to initialize later, on this
 * or any other machine: inode tables are zero already and marked so. Takes some 10 ms whatever the size.
 */
export async function makeFileSystem(devicePath: string, options: FileSystemOptions = {}): Promise<void> {
	const uuid = options.uuid ?? defaultUuid;
	const extended = `assume_storage_prezeroed=1,lazy_itable_init=0,nodiscard,hash_seed=${uuid},root_owner=0:0`;
	const args = ['-q', '-F', '-t', 'ext4', '-O', features, '-b', '4096', '-I', '256', '-i', '16384', '-m', '5', '-U', uuid, '-E', extended, devicePath];
	try {
		// The time stamps of a new file system are those of nobody's clock.
		await run('mke2fs', args, { env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, E2FSPROGS_FAKE_TIME: '1', MKE2FS_CONFIG: '/dev/null' } });
	} catch (error) {
		const { stderr, code } = error as { stderr?: string; code?: string };
		if (code === 'ENOENT') throw new Error('mke2fs was not found: install e2fsprogs', { cause: error });
		throw new Error(`mke2fs ${devicePath}: ${stderr?.trim() || String(error)}`, { cause: error });
	}
}

/** Options of a mount for `mount(device, root, 'ext4', options)`. */
export function buildMountOptions(writable: boolean): string {
	// discard: a file written and deleted in one step costs nothing in the layer. noinit_itable: no thread of
	// the kernel writes to the disk behind a step's back.
	return writable ? 'discard,noatime,noinit_itable,errors=remount-ro' : 'ro,noatime,noload';
}
