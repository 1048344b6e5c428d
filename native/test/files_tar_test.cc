// Tar archives: written as Go writes them, read in every dialect, unpacked without leaving the root.
#include <doctest/doctest.h>

#include <sys/sysmacros.h>

#include <random>

#include "files/sha256.h"
#include "files/tar_pipeline.h"
#include "files/tar_writer.h"
#include "files_support.h"

using namespace obd::files;
using files_test::failure;
using files_test::Scratch;

namespace {

std::string repeat(const std::string& s, int n) {
  std::string out;
  for (int i = 0; i < n; i++) out += s;
  return out;
}

TarEntry entry(const std::string& name, char type = '0', uint32_t mode = 0644) {
  TarEntry out;
  out.name = name;
  out.type = type;
  out.mode = mode;
  return out;
}

TarEntry linked(const std::string& name, char type, const std::string& target) {
  TarEntry out = entry(name, type, 0777);
  out.link = target;
  return out;
}

// An archive under construction.
struct Archive {
  std::string bytes;
  TarWriter writer{[this](std::string_view b) { bytes += b; }};

  Archive& add(TarEntry e, const std::string& content = "") {
    if (e.type == '0') e.size = content.size();
    writer.header(e);
    writer.data(content);
    return *this;
  }
  const std::string& done() {
    writer.finish();
    return bytes;
  }
};

struct Chunks : ByteSource {
  std::string bytes;
  size_t at = 0, step;
  Chunks(std::string b, size_t s) : bytes(std::move(b)), step(s) {}
  std::string_view next() override {
    std::string_view out = std::string_view(bytes).substr(at, step);
    at += out.size();
    return out;
  }
};

UnpackResult unpack(const std::string& archive, const std::string& root, UnpackMode mode = UnpackMode::layer,
                    std::optional<Owner> owner = {}) {
  TarPipeline pipeline(root, {mode, owner}, files_test::task());
  for (size_t at = 0; at < archive.size(); at += 1000) {
    if (!pipeline.write(archive.substr(at, 1000))) pipeline.wait_room();
  }
  return pipeline.finish();
}

std::string digest_of(const std::string& bytes) {
  Sha256 hash;
  hash.update(bytes);
  return digest_string(hash.finish());
}

}  // namespace

TEST_CASE("headers are those of Go's archive/tar, byte for byte") {
  std::string bytes;
  TarWriter writer([&](std::string_view b) { bytes += b; });
  auto put = [&](const TarEntry& e) { writer.header(e); };

  TarEntry e = entry("a/b.txt");
  e.uid = 1000, e.gid = 1001, e.size = 5, e.mtime = 1'700'000'000'000'000'000;
  put(e);
  writer.data("hello");
  e = entry("dir/", '5', 01755), e.mtime = 1'999'999'999;  // fractions are cut off
  put(e);
  e = linked("s", '2', "target"), e.mtime = 2'000'000'000;
  put(e);
  e = linked("h", '1', "a/b.txt"), e.mode = 0644, e.mtime = 2'000'000'000;
  put(e);
  e = entry("c", '3', 0600), e.major = 10, e.minor = 200;
  put(e);
  e = entry("b", '4', 0600), e.major = 259, e.minor = 1048575;
  put(e);
  put(entry("f", '6', 0600));
  put(entry(repeat("x", 100), '0', 04755));
  put(entry(repeat("x", 101), '0', 04755));
  const std::string two = repeat("d", 60) + "/" + repeat("e", 60);
  put(entry(two));
  put(entry(two));
  put(entry(two + "/", '5', 0755));
  put(entry(two + "/", '5', 0755));
  put(entry(repeat("d", 99) + "/" + repeat("e", 60) + "/", '5', 0755));
  put(entry(repeat("d/", 150) + repeat("e", 60), '0', 0755));
  put(entry(repeat("d", 160) + "/" + repeat("e", 60), '0', 0755));
  put(entry(repeat("d/", 80) + repeat("e", 120), '0', 0755));
  put(entry("caf\u00e9/\u00fc"));
  put(entry("bad\xe9x"));
  put(linked("ln", '2', repeat("t", 150)));
  put(linked("ln2", '2', "\u00e9"));
  e = entry("big"), e.uid = 3000000, e.gid = 2097152;
  put(e);
  e = entry("cap");
  e.xattrs = {{"security.capability", std::string("\x01\x00\x00\x02\x00\x20\x00\x00", 8)}, {"user.a", repeat("v", 90)}};
  put(e);
  e = entry(two), e.xattrs = {{"user.a", "v"}};
  put(e);
  put(entry("p/.wh.gone", '0', 0));
  put(entry(repeat("q/", 60) + ".wh." + repeat("g", 30), '0', 0));
  e = entry("dir/sub.with.dots/", '5', 02755), e.uid = 2097151, e.xattrs = {{"user.z", "1"}};
  put(e);
  writer.finish();
  // Of the same list written by archive/tar of Go 1.19.
  CHECK(digest_of(bytes) == "sha256:f78c9a8350ab849795fbcf4188a7e7ec949351e9e2779ca3e98f23a28277c2cb");
}

TEST_CASE("an entry's data has to be what its header says") {
  TarWriter writer([](std::string_view) {});
  TarEntry e = entry("f");
  e.size = 3;
  writer.header(e);
  CHECK_THROWS(writer.data("1234"));
  writer.data("12");
  CHECK_THROWS(writer.finish());
}

TEST_CASE("GNU tar's archives of all kinds unpack to the same tree") {
  Scratch s;
  s.dir("in/empty", 0711);
  s.file("in/d/f", "content", 06755);
  link(s.at("in/d/f").c_str(), s.at("in/d/hard").c_str());
  s.link("in/d/sym", "../f");
  s.file("in/" + repeat("n", 120) + "/" + repeat("m", 130), "long");
  s.link("in/longlink", repeat("n", 120) + "/" + repeat("m", 130));
  s.file("in/caf\xe9", "latin1");
  s.file("in/sparse", "");
  truncate(s.at("in/sparse").c_str(), 3 << 20);
  for (int i = 0; i < 40; i++) {
    std::fstream file(s.at("in/sparse"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(i * 65536 + 4096);
    file << "island " << i;
  }
  mknod(s.at("in/c").c_str(), S_IFCHR | 0600, makedev(1, 3));
  mkfifo(s.at("in/p").c_str(), 0600);
  lchown(s.at("in/d").c_str(), 3000000, 2500000);
  s.set_mtime("in/empty", 946684799, 123456789);

  for (const char* how : {"--format=pax", "--format=pax -S", "--format=pax -S --sparse-version=0.0",
                          "--format=pax -S --sparse-version=0.1", "--format=gnu", "--format=gnu -S",
                          "--format=pax -z", "--format=gnu -j", "--format=gnu -J", "--format=pax --zstd"}) {
    CAPTURE(how);
    s.dir("out");
    REQUIRE(system(("tar " + std::string(how) + " --numeric-owner -C " + s.at("in") + " -cf " + s.at("t") + " .").c_str()) == 0);
    const std::string archive = s.read("t");
    const UnpackResult result = unpack(archive, s.at("out"));
    CHECK(digest_string(result.digest) == digest_of(archive));
    CHECK(result.size == archive.size());
    CHECK(result.entries == 13);
    CHECK(s.mode("out/empty") == 0711);
    CHECK(s.read("out/d/f") == "content");
    CHECK(s.mode("out/d/f") == 06755);
    CHECK(s.stat("out/d/hard").st_ino == s.stat("out/d/f").st_ino);
    CHECK(s.target("out/d/sym") == "../f");
    CHECK(s.read("out/longlink") == "long");
    CHECK(s.read("out/caf\xe9") == "latin1");
    CHECK(s.read("out/sparse") == s.read("in/sparse"));
    CHECK(s.stat("out/c").st_rdev == makedev(1, 3));
    CHECK(S_ISFIFO(s.stat("out/p").st_mode));
    CHECK(s.stat("out/d").st_uid == 3000000);
    CHECK(s.stat("out/empty").st_mtim.tv_sec == 946684799);
    const bool fractions = std::string(how).find("pax") != std::string::npos;
    CHECK(s.stat("out/empty").st_mtim.tv_nsec == (fractions ? 123456789 : 0));
    if (std::string(how).find("-S") != std::string::npos) CHECK(s.stat("out/sparse").st_blocks * 512 < (1 << 20));
    std::filesystem::remove_all(s.at("out"));
  }
}

TEST_CASE("digests are of the bytes as given and of the tar inside") {
  Scratch s;
  const std::string tar = Archive().add(entry("f"), "x").done();
  s.file("t", tar);
  REQUIRE(system(("gzip -kf " + s.at("t")).c_str()) == 0);
  const UnpackResult result = unpack(s.read("t.gz"), s.dir("out"));
  CHECK(digest_string(result.diff_id) == digest_of(tar));
  CHECK(digest_string(result.digest) == digest_of(s.read("t.gz")));
  // Blocks behind the end belong to the digests too.
  const std::string padded = tar + std::string(8192, '\0');
  CHECK(digest_string(unpack(padded, s.at("out")).diff_id) == digest_of(padded));
}

TEST_CASE("xattrs come back as raw bytes, capabilities after the owner") {
  Scratch s;
  TarEntry e = entry("f", '0', 0755);
  e.uid = 5;
  e.xattrs = {{"security.capability", files_test::kCapability}, {"user.raw", std::string("a\0b=\n", 5)}};
  TarEntry sym = linked("l", '2', "f");
  sym.xattrs = {{"user.no", "x"}};  // not possible on a symlink: passed over
  unpack(Archive().add(e, "x").add(sym).done(), s.dir("out"));
  CHECK(s.xattr("out/f", "security.capability") == files_test::kCapability);
  CHECK(s.xattr("out/f", "user.raw") == std::string("a\0b=\n", 5));
  CHECK(s.stat("out/f").st_uid == 5);
}

TEST_CASE("nothing gets out of the root") {
  Scratch s;
  s.file("victim", "untouched");
  s.dir("out");
  Archive a;
  a.add(entry("../../victim"), "1").add(entry("/abs/file"), "2");
  a.add(linked("up", '2', "../..")).add(entry("up/victim"), "3");
  a.add(linked("slash", '2', "/")).add(entry("slash/etc/passwd"), "4");
  a.add(linked("hard", '1', "../../victim"));
  a.add(linked("deep/hard", '1', "/abs/file"));
  unpack(a.done(), s.at("out"));
  CHECK(s.read("victim") == "untouched");
  CHECK(s.read("out/victim") == "3");  // "../../victim", then through the link that ends at the root
  CHECK(s.read("out/abs/file") == "2");
  CHECK(s.read("out/etc/passwd") == "4");
  CHECK(s.stat("out/hard").st_ino == s.stat("out/victim").st_ino);
  CHECK(s.stat("out/deep/hard").st_ino == s.stat("out/abs/file").st_ino);
}

TEST_CASE("later entries replace earlier ones; directories merge") {
  Scratch s;
  s.file("out/dir/old", "stays");
  s.dir("out/dir", 0700);
  s.file("out/gone/inner", "goes");
  s.link("out/link", "dir");
  Archive a;
  TarEntry d = entry("dir/", '5', 0755);
  d.mtime = 100'000'000'000;
  a.add(d).add(entry("dir/new"), "n").add(entry("gone"), "file now").add(entry("link/", '5', 0750));
  a.add(entry("twice"), "1").add(entry("twice", '0', 0600), "2").add(entry("implied/by/name"), "i");
  unpack(a.done(), s.at("out"));
  CHECK(s.read("out/dir/old") == "stays");
  CHECK(s.mode("out/dir") == 0755);
  CHECK(s.stat("out/dir").st_mtime == 100);
  CHECK(s.read("out/gone") == "file now");
  CHECK(S_ISDIR(s.stat("out/link").st_mode));
  CHECK(s.read("out/twice") == "2");
  CHECK(s.mode("out/twice") == 0600);
  CHECK(s.mode("out/implied") == 0755);
}

TEST_CASE("whiteouts take away what lower layers brought, and nothing of this layer") {
  Scratch s;
  s.file("out/a/lower", "l");
  s.file("out/a/sub/lower", "l");
  s.file("out/b/lower", "l");
  s.file("out/c", "l");
  s.file("out/keep", "k");
  Archive a;
  a.add(entry("a/mine"), "m").add(entry("a/sub/mine"), "m").add(entry("a/.wh..wh..opq"));
  a.add(entry(".wh.b")).add(entry(".wh.c")).add(entry(".wh.not-there")).add(entry("x/.wh.y"));
  a.add(entry("mine"), "m").add(entry(".wh.mine"));
  a.add(entry(".wh..wh.plnk/", '5'));
  unpack(a.done(), s.at("out"));
  CHECK(s.read("out/a/mine") == "m");
  CHECK(s.read("out/a/sub/mine") == "m");
  CHECK_FALSE(s.exists("out/a/lower"));
  CHECK_FALSE(s.exists("out/a/sub/lower"));
  CHECK_FALSE(s.exists("out/b"));
  CHECK_FALSE(s.exists("out/c"));
  CHECK(s.read("out/mine") == "m");
  CHECK(s.read("out/keep") == "k");
  CHECK_FALSE(s.exists("out/.wh..wh.plnk"));
  CHECK(failure([&] { unpack(Archive().add(entry("d/.wh...")).done(), s.at("out")); }) == "invalid whiteout name: .wh...");
  CHECK(s.exists("out/keep"));
}

TEST_CASE("in a user's archive whiteouts are files, and the owner may be given") {
  Scratch s;
  s.file("out/c", "stays");
  TarEntry e = entry(".wh.c");
  e.uid = 9;
  unpack(Archive().add(entry("./", '5', 0700)).add(e, "w").done(), s.dir("out"), UnpackMode::archive, Owner{3, 4});
  CHECK(s.read("out/c") == "stays");
  CHECK(s.read("out/.wh.c") == "w");
  CHECK(s.stat("out/.wh.c").st_uid == 3);
  CHECK(s.stat("out/.wh.c").st_gid == 4);
  CHECK(s.mode("out") == 0755);
}

TEST_CASE("broken archives are refused") {
  Scratch s;
  const std::string out = s.dir("out");
  const std::string tar = Archive().add(entry("f"), repeat("x", 3000)).add(entry("g")).done();
  auto broken = [&](const std::string& bytes) { return failure([&] { unpack(bytes, out); }); };
  CHECK(broken(tar.substr(0, 700)) == "tar archive: unexpected end (at byte 700)");
  CHECK(broken(tar.substr(0, 300)) == "tar archive: unexpected end (at byte 300)");
  std::string flipped = tar;
  flipped[3] ^= 1;
  CHECK(broken(flipped) == "tar archive: invalid header (at byte 512)");
  CHECK(broken("this is no archive at all, but it is long enough to be looked at as one" + std::string(600, 'x')) ==
        "tar archive: invalid header (at byte 512)");
  TarEntry odd = entry("odd", 'Z');
  CHECK(broken(Archive().add(odd).done()) == "unhandled tar header type 90");
  CHECK(broken(Archive().add(linked("h", '1', "missing")).done()) == "link /missing /h: no such file or directory");
  for (const std::string name : {"l/f", "l/d/f"}) {
    const std::string root = s.dir("lost" + std::to_string(name.size())), lost = Archive().add(linked("l", '2', "/nowhere")).add(entry(name)).done();
    CHECK(failure([&] { unpack(lost, root, UnpackMode::archive); }) == "open /" + name + ": no such file or directory");
    CHECK(failure([&] { unpack(lost, root, UnpackMode::layer); }) == "");
  }
  s.file("t", tar);
  REQUIRE(system(("gzip -kf " + s.at("t")).c_str()) == 0);
  const std::string gz = s.read("t.gz");
  CHECK(broken(gz.substr(0, gz.size() / 2)).find("unexpected EOF") != std::string::npos);
  CHECK(broken("") == "");  // an empty stream is an empty archive
}

TEST_CASE("damaged archives never crash the reader") {
  Scratch s;
  s.file("in/sparse", "");
  truncate(s.at("in/sparse").c_str(), 1 << 20);
  {
    std::fstream file(s.at("in/sparse"), std::ios::in | std::ios::out | std::ios::binary);
    for (int i = 0; i < 8; i++) file.seekp(i * 100000) << "island";
  }
  s.file("in/" + repeat("n", 150), "x");
  std::mt19937 random(7);
  for (const char* how : {"--format=pax -S", "--format=gnu -S", "--format=pax -S --sparse-version=0.1"}) {
    REQUIRE(system(("tar " + std::string(how) + " -C " + s.at("in") + " -cf " + s.at("t") + " .").c_str()) == 0);
    const std::string archive = s.read("t");
    for (int round = 0; round < 400; round++) {
      std::string bytes = archive;
      for (int i = 0; i < 4; i++) bytes[random() % bytes.size()] = static_cast<char>(random());
      // With its checksum right a damaged header gets further.
      for (size_t block = 0; block + 512 <= bytes.size(); block += 512) {
        if (bytes.compare(block + 257, 5, "ustar") != 0) continue;
        unsigned sum = 8 * ' ';
        for (size_t i = 0; i < 512; i++) sum += i >= 148 && i < 156 ? 0 : static_cast<unsigned char>(bytes[block + i]);
        snprintf(&bytes[block + 148], 8, "%06o", sum);
      }
      Chunks chunks(bytes, 700);
      TarReader reader(chunks);
      TarEntry e;
      try {
        for (int entries = 0; entries < 100 && reader.next(e); entries++) {
          while (!reader.data().empty()) continue;
        }
      } catch (const std::exception&) {
      }
    }
  }
}

TEST_CASE("archives are told from other files") {
  Scratch s;
  const std::string tar = Archive().add(entry("f"), "x").done();
  s.file("tar", tar);
  REQUIRE(system(("gzip -kf " + s.at("tar")).c_str()) == 0);
  s.file("text", repeat("just text\n", 200));
  s.file("empty", "");
  s.file("zeros", std::string(2048, '\0'));
  s.file("gz", "\x1f\x8b\x08 but not really gzip, only its first bytes");
  s.file("text2", repeat("t", 600));
  REQUIRE(system(("gzip -f " + s.at("text2")).c_str()) == 0);
  auto archive = [&](const char* name) {
    Fd fd(::open(s.at(name).c_str(), O_RDONLY));
    return is_archive(fd.get());
  };
  CHECK(archive("tar"));
  CHECK(archive("tar.gz"));
  for (const char* no : {"text", "empty", "zeros", "gz", "text2.gz"}) {
    CAPTURE(no);
    CHECK_FALSE(archive(no));
  }
}

TEST_CASE("an unpacking that is given up ends its threads") {
  Scratch s;
  s.dir("out");
  TarPipeline pipeline(s.at("out"), {}, files_test::task());
  pipeline.write(std::string(100, 'x'));
  pipeline.cancel();
  CHECK(failure([&] { pipeline.write("more"); }) == "context canceled");
}
