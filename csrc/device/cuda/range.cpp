#include "device/range.h"

#ifdef STAGEGATE_NVTX
#include <nvtx3/nvToolsExt.h>

namespace stagegate {

namespace {

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t handle = nvtxDomainCreateA("stagegate");
  return handle;
}

void push(const char* name, const std::int64_t* index) {
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = name;
  if (index != nullptr) {
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    attributes.payload.llValue = *index;
  }
  nvtxDomainRangePushEx(domain(), &attributes);
}

}  // namespace

Range::Range(const char* name) { push(name, nullptr); }
Range::Range(const char* name, std::int64_t index) { push(name, &index); }
Range::~Range() { nvtxDomainRangePop(domain()); }

}  // namespace stagegate
#endif
