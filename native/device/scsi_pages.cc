#include "device/scsi_pages.h"

#include <algorithm>
#include <cstring>

#include "device/scsi_bytes.h"

namespace obd::scsi {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr char kVendor[] = "OBD     ", kProduct[] = "overlaybd disk  ", kRevision[] = "0001";
constexpr uint8_t kPhysicalExponent = 3;  // 8 blocks, 4 KiB, in a physical one

Request answer(Bytes data, size_t allocated) {
  Request request;
  request.kind = Request::Kind::data_in;
  data.resize(std::min(data.size(), allocated));
  request.data = std::move(data);
  return request;
}

Request refuse(Sense sense) {
  Request request;
  request.kind = Request::Kind::refuse;
  request.sense = sense;
  return request;
}

void append(Bytes& to, const std::string& text) { to.insert(to.end(), text.begin(), text.end()); }

Bytes standard_inquiry() {
  Bytes data(8);
  data[2] = 6;     // SPC-4
  data[3] = 2;     // the format of this answer
  data[4] = 31;    // bytes that follow
  data[7] = 0x02;  // several commands at a time
  append(data, std::string(kVendor) + kProduct + kRevision);
  return data;
}

Bytes vpd_page(uint8_t code, const Bytes& content) {
  Bytes page = {0, code, 0, 0};
  put_be<uint16_t>(page.data() + 2, static_cast<uint16_t>(content.size()));
  page.insert(page.end(), content.begin(), content.end());
  return page;
}

Bytes device_identification(const Disk& disk) {
  // Locally assigned NAA identifier: its number is 60 bits of the serial.
  Bytes content = {0x01, 0x03, 0x00, 8};
  content.resize(12);
  put_be<uint64_t>(content.data() + 4, 0x3ull << 60 | std::stoull(disk.serial.substr(0, 15), nullptr, 16));
  const std::string text = kVendor + disk.serial;
  content.insert(content.end(), {0x02, 0x01, 0x00, static_cast<uint8_t>(text.size())});
  append(content, text);
  return content;
}

Bytes block_limits() {
  Bytes content(60);
  content[0] = 0x01;  // WRITE SAME of zero blocks is refused
  put_be<uint16_t>(&content[2], 1 << kPhysicalExponent);                          // optimal granularity
  put_be<uint32_t>(&content[4], static_cast<uint32_t>(kMaxTransfer / kBlock));    // maximum transfer
  put_be<uint32_t>(&content[16], kMaxZeroBlocks);                                 // of an UNMAP
  put_be<uint32_t>(&content[20], kMaxUnmapDescriptors);
  put_be<uint32_t>(&content[24], 1);                                              // UNMAP granularity
  put_be<uint64_t>(&content[32], kMaxZeroBlocks);                                 // of a WRITE SAME
  return content;
}

Bytes block_characteristics() {
  Bytes content(60);
  content[1] = 1;  // does not rotate
  return content;
}

// UNMAP and WRITE SAME both unmap, unmapped blocks read as zeros, thin provisioning.
Bytes logical_block_provisioning() { return {0, 0xe4, 0x02, 0}; }

Bytes caching_page() {
  Bytes page(20);
  page[0] = 0x08;
  page[1] = 18;
  page[2] = 0x04;  // write cache enabled: what is to last is flushed
  return page;
}

Bytes control_page() {
  Bytes page(12);
  page[0] = 0x0a;
  page[1] = 10;
  return page;
}

// The pages of a MODE SENSE; false with a sense when there is no such page.
bool mode_pages(const uint8_t* cdb, Bytes& pages, Sense& sense) {
  const uint8_t control = cdb[2] >> 6, page = cdb[2] & 0x3f, subpage = cdb[3];
  sense = kInvalidField;
  if (control == 3) {
    sense = kSavingNotSupported;
    return false;
  }
  if (subpage != 0 && subpage != 0xff) return false;
  const Bytes all[] = {caching_page(), control_page()};
  for (const Bytes& candidate : all) {
    if (page != candidate[0] && page != 0x3f) continue;
    const size_t at = pages.size();
    pages.insert(pages.end(), candidate.begin(), candidate.end());
    // Changeable values: none.
    if (control == 1) std::fill(pages.begin() + static_cast<ptrdiff_t>(at) + 2, pages.end(), 0);
  }
  return !pages.empty();
}

uint8_t mode_device_parameter(const Disk& disk) {
  return static_cast<uint8_t>((disk.writable ? 0 : 0x80) | 0x10);  // write protected; FUA is understood
}

}  // namespace

Request inquiry(const uint8_t* cdb, const Disk& disk) {
  const uint16_t allocated = get_be<uint16_t>(cdb + 3);
  const bool vital = cdb[1] & 1;
  if (!vital) return cdb[2] == 0 ? answer(standard_inquiry(), allocated) : refuse(kInvalidField);
  const uint8_t code = cdb[2];
  switch (code) {
    case 0x00:
      return answer(vpd_page(code, {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2}), allocated);
    case 0x80:
      return answer(vpd_page(code, Bytes(disk.serial.begin(), disk.serial.end())), allocated);
    case 0x83:
      return answer(vpd_page(code, device_identification(disk)), allocated);
    case 0xb0:
      return answer(vpd_page(code, block_limits()), allocated);
    case 0xb1:
      return answer(vpd_page(code, block_characteristics()), allocated);
    case 0xb2:
      return answer(vpd_page(code, logical_block_provisioning()), allocated);
    default:
      return refuse(kInvalidField);
  }
}

Request read_capacity_10(const uint8_t* cdb, const Disk& disk) {
  // An address without the partial medium indicator is an error; the indicator is obsolete.
  if (get_be<uint32_t>(cdb + 2) != 0 || (cdb[8] & 1) != 0) return refuse(kInvalidField);
  Bytes data(8);
  put_be<uint32_t>(data.data(), static_cast<uint32_t>(std::min<uint64_t>(disk.blocks - 1, UINT32_MAX)));
  put_be<uint32_t>(&data[4], kBlock);
  return answer(std::move(data), 8);
}

Request read_capacity_16(const uint8_t* cdb, const Disk& disk) {
  Bytes data(32);
  put_be<uint64_t>(data.data(), disk.blocks - 1);
  put_be<uint32_t>(&data[8], kBlock);
  data[13] = kPhysicalExponent;
  data[14] = 0xc0;  // logical block provisioning is on; unmapped blocks read as zeros
  return answer(std::move(data), get_be<uint32_t>(cdb + 10));
}

Request mode_sense_6(const uint8_t* cdb, const Disk& disk) {
  Bytes pages;
  Sense sense;
  if (!mode_pages(cdb, pages, sense)) return refuse(sense);
  Bytes data = {static_cast<uint8_t>(3 + pages.size()), 0, mode_device_parameter(disk), 0};
  data.insert(data.end(), pages.begin(), pages.end());
  return answer(std::move(data), cdb[4]);
}

Request mode_sense_10(const uint8_t* cdb, const Disk& disk) {
  Bytes pages;
  Sense sense;
  if (!mode_pages(cdb, pages, sense)) return refuse(sense);
  Bytes data(8);
  put_be<uint16_t>(data.data(), static_cast<uint16_t>(6 + pages.size()));
  data[3] = mode_device_parameter(disk);
  data.insert(data.end(), pages.begin(), pages.end());
  return answer(std::move(data), get_be<uint16_t>(cdb + 7));
}

Request request_sense(const uint8_t* cdb) {
  if ((cdb[1] & 1) != 0) return refuse(kInvalidField);  // descriptor format
  Bytes data(kSenseSize);
  encode_sense({}, data.data());
  return answer(std::move(data), cdb[4]);
}

}  // namespace obd::scsi
